"""The leaves of a file, as they travel between daemon and fetcher and lie in the store.

A record of 45 bytes each, in the order of the file: offset (8 bytes), length (4), 0 for a raw block and 1 for a dag-pb
one (1), sha2-256 (32); little-endian.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.dagpb import BLOCK_MAX

_RECORD: Final = struct.Struct("<QIB32s")
RECORD_SIZE: Final = _RECORD.size
_SUM_SIZE: Final = 8


class Leaf(NamedTuple):
    """A leaf of a file: where its bytes lie, how many there are, and the CID of the block that holds them."""

    offset: int
    length: int
    cid: bytes


COPIED: Final = "files of this machine"
"""Stands for an origin: the leaf was copied from another file."""


class Source(NamedTuple):
    """Where the bytes of a leaf may be had on this machine: a file, by its path and its inode, and where in it. The
    path is from the plain root, or from the directory of extents (`place`). Not more than a hint: the bytes have to be
    compared."""

    path: bytes
    ino: int
    offset: int
    place: Literal["view", "store"] = "view"


def pack(offset: int, length: int, leaf_cid: bytes) -> bytes:
    """The record of a leaf. Raises FormatError for a CID that is not of sha2-256."""
    return _RECORD.pack(offset, length, cid.codec(leaf_cid) == cid.DAG_PB, cid.digest(leaf_cid))


@dataclass(slots=True, frozen=True)
class LeafTable:
    """All leaves of a file, packed."""

    records: bytes
    _ends: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """Raises FormatError where the records are not of a file: each leaf begins where the one before ends."""
        if len(self.records) % RECORD_SIZE:
            raise FormatError(f"a table of leaves of {len(self.records)} bytes")
        at = 0
        for offset, length, kind, _ in _RECORD.iter_unpack(self.records):
            if offset != at or not 0 < length <= BLOCK_MAX or kind > 1:
                raise FormatError("a table of leaves with a gap, an overlap or a leaf that is too long")
            at += length
            self._ends.append(at)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Leaf:
        offset, length, kind, digest = _RECORD.unpack_from(self.records, index * RECORD_SIZE)
        return Leaf(offset, length, cid.dag_pb_cid(digest) if kind else cid.raw_cid(digest))

    def __iter__(self) -> Iterator[Leaf]:
        return (self[index] for index in range(len(self)))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._ends[-1] if self._ends else 0

    def index_at(self, offset: int) -> int:
        """Which leaf holds the byte at an offset below `size`."""
        return bisect_right(self._ends, offset)

    def part(self, indexes: list[int]) -> bytes:
        """The records of some leaves."""
        return b"".join(self.records[i * RECORD_SIZE : (i + 1) * RECORD_SIZE] for i in indexes)


def table_of(leaves: Iterable[tuple[int, bytes]]) -> LeafTable:
    """The table of a file by the length and sha2-256 of each of its leaves, raw blocks in order: those of a seal."""
    records, offset = [], 0
    for length, digest in leaves:
        records.append(pack(offset, length, cid.raw_cid(digest)))
        offset += length
    return LeafTable(b"".join(records))


def pack_with(table: LeafTable, checksums: list[int]) -> bytes:
    """The records of all leaves, and behind them a checksum (8 bytes) of each."""
    return table.records + array("Q", checksums).tobytes()


def unpack_with(data: bytes) -> tuple[list[Leaf], list[int]]:
    """The reverse of `pack_with`."""
    count = len(data) // (RECORD_SIZE + _SUM_SIZE)
    checksums = array("Q")
    checksums.frombytes(data[count * RECORD_SIZE :])
    return unpack(data[: count * RECORD_SIZE]), list(checksums)


def unpack(records: bytes) -> list[Leaf]:
    """The leaves of records that need not follow each other."""
    return [
        Leaf(offset, length, cid.dag_pb_cid(digest) if kind else cid.raw_cid(digest))
        for offset, length, kind, digest in _RECORD.iter_unpack(records)
    ]
