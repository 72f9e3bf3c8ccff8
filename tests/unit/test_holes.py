"""Holes of files: known without being read, and hashed as the zeros they are."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.plain.holes import Holes
from ipfsfs.plain.quiet import DirectFile, QuietFile
from ipfsfs.store.seal import TABLES_MAX, UNIT, unpack_leaves
from ipfsfs.workers.sealer import hashing
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_ext4_image
from tests.support.seals import drive, packed, seal_of
from tests.support.weights import safetensors

_MIB = 1 << 20
_BUFFER = hashing.new_buffer()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def _with_holes(path: Path, size: int, parts: dict[int, bytes]) -> bytes:
    """A file of zeros but for `parts`; returns its content."""
    content = bytearray(size)
    with path.open("wb", buffering=0) as file:
        file.truncate(size)
        for offset, data in parts.items():
            os.pwrite(file.fileno(), data, offset)
            content[offset : offset + len(data)] = data
    return bytes(content)


@pytest.fixture(params=["ext4", "tmpfs"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    if request.param == "tmpfs":
        with mounted_tmpfs(tmp_path, "size=64m") as at:
            yield at
    else:
        with mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as at:
            yield at


@pytest.mark.root
def test_holes_are_told_as_they_are(disk: Path) -> None:
    _with_holes(disk / "file", 16 * _MIB, {4 * _MIB: b"x" * _MIB, 9 * _MIB: b"y"})
    with _opened(disk / "file") as fd:
        holes = Holes.of(fd, 16 * _MIB)
        assert holes.end(0) == 4 * _MIB
        assert holes.end(4 * _MIB) == 4 * _MIB
        assert holes.end(4 * _MIB + 5) == 4 * _MIB + 5
        assert holes.end(5 * _MIB) == 9 * _MIB
        assert holes.end(10 * _MIB) == 16 * _MIB
        assert Holes.of(fd, 4 * _MIB).end(0) == 4 * _MIB


@pytest.mark.root
def test_what_was_written_and_is_not_on_disk_yet_is_no_hole(disk: Path) -> None:
    with (disk / "file").open("wb", buffering=0) as file:
        file.truncate(8 * _MIB)
        os.pwrite(file.fileno(), b"x", 3 * _MIB)
    with _opened(disk / "file") as fd:
        assert Holes.of(fd, 8 * _MIB).end(0) == 3 * _MIB


_CASES = {
    "nothing but a hole": (40 * _MIB + 5, {}),
    "data first": (40 * _MIB, {0: random.Random(1).randbytes(3 * _MIB + 7)}),
    "data in the middle, across leaves": (40 * _MIB + UNIT // 2, {17 * _MIB - 100: random.Random(2).randbytes(_MIB)}),
    "one byte at the end": (40 * _MIB, {40 * _MIB - 1: b"x"}),
    "many small parts": (24 * _MIB, dict.fromkeys(range(_MIB // 2, 24 * _MIB, 3 * _MIB), b"part")),
    "tensors": (40 * _MIB, {0: safetensors({"a": bytes(3 * _MIB + 6), "b": b"x" * 10, "c": bytes(30 * _MIB)})[:400]}),
}


@pytest.mark.root
@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("whole", [False, True])
def test_a_file_with_holes_is_hashed_as_if_it_were_read(tmp_path: Path, case: str, whole: bool) -> None:
    size, parts = _CASES[case]
    with mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as disk:
        content = _with_holes(disk / "file", size, parts)
        with _opened(disk / "file") as fd:
            held = drive(hashing.hash_file(hashing.Held(content), size, "auto", _BUFFER, whole=whole))
            steps = list(hashing.hash_file(QuietFile(fd, size), size, "auto", _BUFFER, whole=whole))
            found = drive(hashing.hash_file(QuietFile(fd, size), size, "auto", _BUFFER, whole=whole))
            assert found == held
            assert sum(steps) == size
            direct = DirectFile.beside(fd, size)
            assert direct is not None
            leaves = list(unpack_leaves(held.leaves))
            same = drive(hashing.compare(direct, size, leaves, held.sums, _BUFFER, whole=whole))
            direct.close()
    assert (same.units, same.leaves) == ((), ())
    assert same.sha256 == (hashlib.sha256(content).digest() if whole else b"")
    if case == "nothing but a hole":
        assert (found.leaves, found.sums) == packed(content)
        assert len(steps) < 10 or whole


@pytest.mark.root
def test_a_hole_where_data_was_sealed_differs_in_each_unit_and_leaf(tmp_path: Path) -> None:
    data = random.Random(3).randbytes(4 * _MIB)
    seal = seal_of(bytes(8 * _MIB) + data + bytes(8 * _MIB))
    with mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as disk:
        _with_holes(disk / "file", seal.size, {})
        with _opened(disk / "file") as fd:
            found = drive(hashing.compare(QuietFile(fd, seal.size), seal.size, seal.iter_leaves(), seal.sums, _BUFFER))
    assert found.leaves == tuple(range(8 * _MIB, 12 * _MIB, _MIB))
    assert found.units == tuple(range(8 * _MIB, 12 * _MIB, UNIT))


def test_a_file_whose_tables_no_seal_can_hold_is_not_even_begun() -> None:
    size = 4 << 40
    assert hashing.least_tables(size) > TABLES_MAX
    with pytest.raises(hashing.TooLarge):
        next(hashing.hash_file(hashing.Held(b""), size, "auto", _BUFFER))


def test_the_limit_is_where_it_is_said_to_be() -> None:
    assert hashing.least_tables(700 * 10**9) < TABLES_MAX < hashing.least_tables(710 * 10**9)
