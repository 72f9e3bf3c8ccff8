"""Which leaf has which sha2-256, for tens of millions of them: 16 to 40 bytes of memory a leaf.

A table of 64-bit slots with open addressing: an empty slot is 0, another names a leaf by two numbers of 32 bits, which
file (from 1) and which leaf of it. The digests themselves stand in the files' own tables, and are compared there. A
dictionary of Python's takes 150 bytes for the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

_FIRST: Final = 1 << 10
_SAME_MOST: Final = 4
"""Leaves of one digest that are noted: of a leaf that many files hold, some are enough."""


class Digests:
    """Leaves by digest. What a slot names is for the caller to compare: other leaves share its place."""

    __slots__ = ("_mask", "_slots", "used")

    def __init__(self, room: int = 0) -> None:
        """`room`: for so many leaves the table need not grow."""
        size = _FIRST
        while size < 2 * room:
            size *= 2
        self._slots = array("Q", bytes(8 * size))
        self._mask = size - 1
        self.used = 0

    def has_room(self, count: int) -> bool:
        """Whether so many leaves more can be noted; else another table is to be made. At half of its slots it is
        full."""
        return 2 * (self.used + count) <= self._mask

    def candidates(self, digest: bytes) -> Iterator[tuple[int, int]]:
        """File and leaf of all that may have this digest."""
        at = int.from_bytes(digest[:8]) & self._mask
        while slot := self._slots[at]:
            yield slot >> 32, slot & 0xFFFF_FFFF
            at = (at + 1) & self._mask

    def add(self, digest: bytes, file: int, leaf: int, tables: list[bytes], stride: int, skip: int) -> None:
        """Note a leaf. `tables`: of each file, the bytes that hold the digest of leaf n at `stride * n + skip`."""
        at = int.from_bytes(digest[:8]) & self._mask
        same = 0
        while slot := self._slots[at]:
            other, index = slot >> 32, slot & 0xFFFF_FFFF
            begin = stride * index + skip
            if tables[other][begin : begin + 32] == digest:
                same += 1
                if other == file or same == _SAME_MOST:
                    return
            at = (at + 1) & self._mask
        self._slots[at] = file << 32 | leaf
        self.used += 1
