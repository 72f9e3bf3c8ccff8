"""Directories: one node or a HAMT, and how a reader finds a name in it."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import dagpb, directory, hamt
from ipfsfs.unixfs.cid import raw_cid
from ipfsfs.unixfs.dagpb import Type
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.profile import Profile

_ALWAYS_HAMT = Profile("always-hamt", 1, True, 1 << 20, 1024, "block-bytes", 1)


def _entries(names: set[bytes]) -> list[Entry]:
    return [Entry(name, raw_cid(sha256(name).digest()), len(name)) for name in names]


_NAMES = st.sets(st.binary(min_size=1, max_size=12), min_size=1, max_size=300)


@given(_NAMES)
def test_a_reader_finds_every_name_in_a_hamt(names: set[bytes]) -> None:
    dag = directory.build(_entries(names), _ALWAYS_HAMT)
    blocks = dict(dag.nodes)
    for name in names:
        assert _look_up(dag.cid, name, blocks) == raw_cid(sha256(name).digest())
    assert dag.nodes[-1][0] == dag.cid


def _look_up(cid: bytes, name: bytes, blocks: dict[bytes, bytes]) -> bytes:
    """As the specification tells a reader to do it."""
    for slot in hamt.hash_name(name):
        links, data = dagpb.decode_node(blocks[cid])
        message = dagpb.decode_unixfs(data or b"")
        assert (message.type, message.hash_type, message.fanout) == (Type.HAMT_SHARD, 0x22, 256)
        bitfield = int.from_bytes(message.data or b"", "big")
        assert bitfield >> slot & 1
        assert bitfield.bit_count() == len(links)
        link = links[(bitfield & ((1 << slot) - 1)).bit_count()]
        if link.name == b"%02X" % slot + name:
            return link.cid
        assert link.name == b"%02X" % slot
        cid = link.cid
    raise AssertionError(f"not found: {name!r}")


def test_hash_of_a_name() -> None:
    """From the specification of UnixFS."""
    assert hamt.hash_name(b"470.txt")[:2] == b"\x00\x6e"


@given(_NAMES, st.randoms(use_true_random=False), st.sampled_from([1, 1000, 262_144]))
def test_the_order_of_entries_does_not_matter(names: set[bytes], source: random.Random, above: int) -> None:
    profile = Profile("some", 1, True, 1 << 20, 1024, "block-bytes", above)
    entries = sorted(_entries(names), key=lambda entry: entry.name)
    shuffled = list(entries)
    source.shuffle(shuffled)
    assert directory.build(shuffled, profile) == directory.build(entries, profile)


def test_sizes_of_a_directory() -> None:
    dag = directory.build([Entry(b"a", raw_cid(bytes(32)), 100), Entry(b"b", raw_cid(bytes(32)), 11)])
    assert dag.tsize == 111 + len(dag.nodes[0][1])
    assert dag.size == 0


@pytest.mark.parametrize("count", [1, 6_000])
def test_a_name_cannot_be_there_twice(count: int) -> None:
    entries = _entries({b"%d" % i for i in range(count)})
    with pytest.raises(FormatError, match="named b'0'"):
        directory.build([*entries, Entry(b"0", raw_cid(bytes(32)), 5)])


def test_names_of_one_hash_are_refused() -> None:
    """Murmur3 is no cryptographic hash: whoever names files can make the trie as deep as it goes."""
    names = {_colliding(first) for first in (b"a" * 16, b"b" * 16)}
    assert len(names) == 2
    assert len({hamt.hash_name(name) for name in names}) == 1
    with pytest.raises(FormatError, match="2 names of a directory have the same hash"):
        directory.build(_entries(names), _ALWAYS_HAMT)
    assert directory.build(_entries(names)).nodes


_MASK = (1 << 64) - 1
_C1, _C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _colliding(first: bytes) -> bytes:
    """`first` (16 bytes) and a second block that takes murmur3-x64-128 to the same state, whatever `first` is."""
    k1, k2 = int.from_bytes(first[:8], "little"), int.from_bytes(first[8:], "little")
    h2 = 0
    h1 = (_rotate(_rotate(k1 * _C1 & _MASK, 31) * _C2 & _MASK, 27) + h2) * 5 + 0x52DCE729 & _MASK
    h2 = (_rotate(h2 ^ _rotate(k2 * _C2 & _MASK, 33) * _C1 & _MASK, 31) + h1) * 5 + 0x38495AB5 & _MASK
    # Backwards from the state (0, 0): what must be mixed in, and the words that are mixed to it.
    fifth = pow(5, -1, 1 << 64)
    mixed1 = h1 ^ _rotate((-0x52DCE729 * fifth - h2) & _MASK, 64 - 27)
    mixed2 = h2 ^ _rotate(-0x38495AB5 * fifth & _MASK, 64 - 31)
    word1 = _rotate(mixed1 * pow(_C2, -1, 1 << 64) & _MASK, 64 - 31) * pow(_C1, -1, 1 << 64) & _MASK
    word2 = _rotate(mixed2 * pow(_C1, -1, 1 << 64) & _MASK, 64 - 33) * pow(_C2, -1, 1 << 64) & _MASK
    return first + word1.to_bytes(8, "little") + word2.to_bytes(8, "little")
