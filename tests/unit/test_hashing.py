"""The one pass over a file, and the comparison."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from dataclasses import dataclass

import pytest

from ipfsfs.store.seal import UNIT, unpack_leaves
from ipfsfs.unixfs import chunk
from ipfsfs.workers.sealer import hashing
from ipfsfs.workers.sealer.hashing import Held
from tests.support.seals import drive, packed, seal_of
from tests.support.weights import safetensors

_MIB = 1 << 20
_BUFFER = hashing.new_buffer()
_SIZES = [0, 1, UNIT - 1, UNIT, UNIT + 1, _MIB - 1, _MIB, _MIB + 1, 2 * _MIB, 3 * _MIB + 12_345]


def _random(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", _SIZES)
def test_hash_file_gives_what_hashing_each_part_by_itself_gives(size: int) -> None:
    data = _random(size)
    hashed = drive(hashing.hash_file(Held(data), size, "fixed", _BUFFER, whole=True))
    leaves, sums = packed(data)
    assert (hashed.leaves, hashed.sums, hashed.sha256) == (leaves, sums, hashlib.sha256(data).digest())
    assert hashed.root == seal_of(data).root


@pytest.mark.parametrize("size", [0, 1, _MIB])
def test_the_digest_of_the_whole_is_free_for_one_leaf(size: int) -> None:
    hashed = drive(hashing.hash_file(Held(_random(size)), size, "auto", _BUFFER))
    assert hashed.sha256 == hashlib.sha256(_random(size)).digest()
    assert drive(hashing.hash_file(Held(bytes(size + _MIB)), size + _MIB, "auto", _BUFFER)).sha256 == b"" or size == 0


def test_leaves_that_lie_across_buffers_are_whole() -> None:
    data = safetensors({"a": _random(1_300_002), "b": _random(6), "c": _random(_MIB), "d": _random(700_000)})
    lengths = list(chunk.plan(lambda offset, length: data[offset : offset + length], len(data), "auto"))
    assert any(length % UNIT for length in lengths[1:-1])
    hashed = drive(hashing.hash_file(Held(data), len(data), "auto", _BUFFER))
    at, expected = 0, []
    for length in lengths:
        expected.append((length, hashlib.sha256(data[at : at + length]).digest()))
        at += length
    assert list(unpack_leaves(hashed.leaves)) == expected
    assert hashed.sums == packed(data)[1]


def test_a_file_that_became_shorter_is_no_file_of_that_size() -> None:
    with pytest.raises(hashing.EndedEarly):
        drive(hashing.hash_file(Held(bytes(_MIB)), 2 * _MIB, "fixed", _BUFFER))


def test_steps_are_small_enough_to_do_something_else_in_between() -> None:
    steps = list(hashing.hash_file(Held(bytes(3 * _MIB + 1)), 3 * _MIB + 1, "fixed", _BUFFER))
    assert steps == [_MIB, _MIB, _MIB, 1]


@pytest.mark.parametrize("at", [0, UNIT - 1, UNIT, _MIB, 2 * _MIB + 5, 3 * _MIB + 12_344])
def test_one_changed_byte_is_found_in_its_unit_and_leaf_and_nowhere_else(at: int) -> None:
    data = _random(3 * _MIB + 12_345)
    seal = seal_of(data)
    changed = bytearray(data)
    changed[at] ^= 1
    found = drive(hashing.compare(Held(bytes(changed)), seal.size, seal.iter_leaves(), seal.sums, _BUFFER, whole=True))
    assert found.units == (at // UNIT * UNIT,)
    assert found.leaves == (at // _MIB * _MIB,)
    assert found.sha256 == hashlib.sha256(changed).digest()
    clean = drive(hashing.compare(Held(data), seal.size, seal.iter_leaves(), seal.sums, _BUFFER))
    assert (clean.units, clean.leaves, clean.sha256) == ((), (), b"")


@dataclass(slots=True, frozen=True)
class _BadSector:
    """A disk that cannot read one byte."""

    data: bytes
    at: int

    def read_into(self, view: memoryview, offset: int) -> int:
        if offset <= self.at < offset + len(view):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return Held(self.data).read_into(view, offset)

    def hole_end(self, offset: int) -> int:
        return offset

    def release(self, end: int) -> None:
        pass


def test_what_the_disk_cannot_read_is_bad_and_the_rest_is_still_compared() -> None:
    data = bytearray(_random(2 * _MIB))
    seal = seal_of(bytes(data))
    data[-1] ^= 1
    disk = _BadSector(bytes(data), 3 * UNIT + 7)
    found = drive(hashing.compare(disk, seal.size, seal.iter_leaves(), seal.sums, _BUFFER))
    assert found.units == (3 * UNIT, 2 * _MIB - UNIT)
    assert found.leaves == (0, _MIB)


def test_unreadable_zeros_are_not_taken_for_zeros() -> None:
    seal = seal_of(bytes(_MIB))
    _BUFFER[:] = bytes(len(_BUFFER))
    found = drive(hashing.compare(_BadSector(bytes(_MIB), 0), seal.size, seal.iter_leaves(), seal.sums, _BUFFER))
    assert found.units == (0,)
    assert found.leaves == (0,)
