"""From a file's bytes to its leaves, checksums and root, in one pass, and the same pass again as a comparison.

Both are generators: they yield the number of bytes done after each buffer (1 MiB) or hole, so that whoever drives them
can do something more urgent in between; the result is their return value. Between two yields nothing is kept in the
buffer, so all of them may share one.

Holes are not read: what a leaf and a unit of zeros are is known.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

import xxhash

from ipfsfs.store.seal import LEAF_SIZE, SUM_SIZE, TABLES_MAX, UNIT, pack_leaf, root_of, sums_size
from ipfsfs.unixfs import chunk
from ipfsfs.unixfs.chunk import Chunker

if TYPE_CHECKING:
    from hashlib import _Hash

_ZEROS: Final = memoryview(bytes(chunk.LEAF_MAX))
_HOLE_STEP: Final = 1 << 30
"""The most of a hole that is one step: a thousand leaves, which takes less than hashing one."""


class EndedEarly(Exception):
    """The file has fewer bytes than it had."""


class TooLarge(Exception):
    """The tables of the file would be longer than a seal can hold."""


class Source(Protocol):
    """Where bytes come from."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset` on; fewer bytes only at the end of the file. Raises OSError."""

    def hole_end(self, offset: int) -> int:
        """Where the hole at `offset` ends, `offset` itself where there is none. What lies between is not read."""

    def release(self, end: int) -> None:
        """Everything before `end` has been read and is not needed again."""


@dataclass(slots=True, frozen=True)
class Held:
    """A source of bytes that are in memory already."""

    data: bytes

    def read_into(self, view: memoryview, offset: int) -> int:
        """As `Source`."""
        found = self.data[offset : offset + len(view)]
        view[: len(found)] = found
        return len(found)

    def hole_end(self, offset: int) -> int:
        """As `Source`."""
        return offset

    def release(self, end: int) -> None:
        """As `Source`."""


@dataclass(slots=True, frozen=True)
class Hashed:
    """What a file's bytes are, as in `ipfsfs.store.seal`; `sha256` is empty where it was neither asked for nor free."""

    root: bytes
    leaves: bytes
    sums: bytes
    sha256: bytes


@dataclass(slots=True, frozen=True)
class Differences:
    """Offsets of the units and leaves that are not what they were; `sha256` of the whole, empty where not asked for.
    `unreadable`: whether the disk refused part of it."""

    units: tuple[int, ...]
    leaves: tuple[int, ...]
    sha256: bytes
    unreadable: bool


def new_buffer() -> memoryview:
    """A buffer for the functions below: a leaf long, so it stays in the processor's cache, and at a page's start."""
    return memoryview(mmap.mmap(-1, chunk.LEAF_MAX))


def least_tables(size: int) -> int:
    """The fewest bytes of leaves and checksums that a file of `size` bytes may have."""
    return sums_size(size) + -(-size // chunk.LEAF_MAX) * LEAF_SIZE


def hash_file(
    source: Source, size: int, chunker: Chunker, buffer: memoryview, *, whole: bool = False
) -> Generator[int, None, Hashed]:
    """Hash `size` bytes of `source`; with `whole` also all of them together, which costs as much again.

    Raises EndedEarly, TooLarge, and what reading raises.
    """
    if least_tables(size) > TABLES_MAX:
        raise TooLarge
    tables = _Tables(chunk.plan(_reader(source), size, chunker), TABLES_MAX - sums_size(size))
    total = sha256() if whole else None
    offset = 0
    while offset < size:
        if count := _zeros_at(source, offset, size, _HOLE_STEP if total is None else len(_ZEROS)):
            tables.add_zeros(count)
            data = _ZEROS[:count]
        else:
            data = _fill(source, buffer[: size - offset], offset)
            tables.add(data)
            count = len(data)
        if total is not None:
            total.update(data)
        offset += count
        source.release(offset)
        yield count
    leaves, sums = bytes(tables.leaves), bytes(tables.sums)
    return Hashed(root_of(leaves), leaves, sums, _whole_digest(leaves, total.digest() if total else b""))


@dataclass(slots=True)
class _Tables:
    """Leaves and checksums of what was read so far. `lengths` are those of the leaves to come."""

    lengths: Iterator[int]
    leaves_max: int
    leaves: bytearray = field(default_factory=bytearray)
    sums: bytearray = field(default_factory=bytearray)
    _length: int = 0
    _left: int = 0
    """Of the leaf that is being hashed: its bytes, and how many of them are still to come."""
    _leaf: _Hash = field(default_factory=sha256)

    def add(self, data: memoryview) -> None:
        """More bytes of the file, from the start of a unit on; less than a unit only at the end. Raises TooLarge."""
        for at in range(0, len(data), UNIT):
            self.sums += _sum(data[at : at + UNIT])
        self._hash(data)

    def add_zeros(self, count: int) -> None:
        """As many zeros: whole units of them. Raises TooLarge."""
        self.sums += _sum(_ZEROS[:UNIT]) * (count // UNIT)
        while count:
            if not self._left and (length := self._begin()) <= count:
                self._end(_zeros_digest(length))
                count -= length
                continue
            part = min(self._left, count)
            self._hash(_ZEROS[:part])
            count -= part

    def _hash(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            if not self._left:
                self._begin()
            part = data[at : at + self._left]
            self._leaf.update(part)
            at += len(part)
            self._left -= len(part)
            if not self._left:
                self._end(self._leaf.digest())

    def _begin(self) -> int:
        self._length = self._left = next(self.lengths)
        self._leaf = sha256()
        return self._length

    def _end(self, digest: bytes) -> None:
        self._left = 0
        if len(self.leaves) >= self.leaves_max:
            raise TooLarge
        self.leaves += pack_leaf(self._length, digest)


def _sum(unit: memoryview) -> bytes:
    return xxhash.xxh3_64_intdigest(unit).to_bytes(SUM_SIZE, "little")


@lru_cache(maxsize=256)
def _zeros_digest(length: int) -> bytes:
    return sha256(_ZEROS[:length]).digest()


def _zeros_at(source: Source, offset: int, size: int, most: int) -> int:
    """How many zeros follow that need not be read: whole units, `most` at most; 0 where they do not fill a buffer."""
    count = min(source.hole_end(offset), size) - offset
    return min(count, most) // UNIT * UNIT if count >= len(_ZEROS) else 0


def compare(
    source: Source,
    size: int,
    leaves: Iterable[tuple[int, bytes]] | None,
    sums: bytes,
    buffer: memoryview,
    *,
    whole: bool = False,
) -> Generator[int, None, Differences]:
    """Compare `size` bytes of `source` with their leaves (length, sha2-256) and checksums; with the checksums alone
    where no leaves are given, which takes a small part of the time.

    What the disk refuses to read (EIO) differs. Raises EndedEarly, and what else reading raises.
    """
    found = _Comparison(iter(leaves) if leaves is not None else None, sums, size)
    total = sha256() if whole else None
    offset = 0
    while offset < size:
        if count := _zeros_at(source, offset, size, _HOLE_STEP if total is None else len(_ZEROS)):
            found.add_zeros(count)
            data = _ZEROS[:count]
        else:
            data, unreadable = _fill_what_can_be(source, buffer[: size - offset], offset)
            found.add(data, unreadable)
            count = len(data)
        if total is not None:
            total.update(data)
        offset += count
        source.release(offset)
        yield count
    found.end()
    digest = total.digest() if total else b""
    return Differences(tuple(found.bad_units), tuple(found.bad_leaves), digest, found.unreadable)


def read(source: Source, size: int, buffer: memoryview) -> Generator[int, None, bool]:
    """Read `size` bytes of `source`, and hash nothing; whether the disk refused part of it (EIO).

    Raises EndedEarly, and what else reading raises.
    """
    is_unreadable = False
    offset = 0
    while offset < size:
        count = _zeros_at(source, offset, size, _HOLE_STEP)
        if not count:
            data, unreadable = _fill_what_can_be(source, buffer[: size - offset], offset)
            is_unreadable = is_unreadable or bool(unreadable)
            count = len(data)
        offset += count
        source.release(offset)
        yield count
    return is_unreadable


@dataclass(slots=True)
class _Comparison:
    """What differs in what was read so far: up to `_offset`."""

    expected: Iterator[tuple[int, bytes]] | None
    sums: bytes
    size: int
    bad_units: list[int] = field(default_factory=list)
    bad_leaves: list[int] = field(default_factory=list)
    unreadable: bool = False
    _offset: int = 0
    _start: int = 0
    _left: int = 0
    _digest: bytes = b""
    """Of the leaf that is being hashed: where it begins, how many of its bytes are still to come, and what is due."""
    _leaf: _Hash = field(default_factory=sha256)

    def add(self, data: memoryview, unreadable: set[int]) -> None:
        """More bytes of the file, from the start of a unit on; less than a unit only at the end. `unreadable`: the
        offsets of units that the disk refused."""
        self.unreadable = self.unreadable or bool(unreadable)
        for at in range(0, len(data), UNIT):
            self._compare_unit(self._offset + at, _sum(data[at : at + UNIT]), unreadable)
        self._hash(data, unreadable)

    def add_zeros(self, count: int) -> None:
        """As many zeros: whole units of them."""
        zeros, units = _sum(_ZEROS[:UNIT]), count // UNIT
        first = self._offset // UNIT * SUM_SIZE
        if self.sums[first : first + units * SUM_SIZE] != zeros * units:
            for unit in range(units):
                self._compare_unit(self._offset + unit * UNIT, zeros, set())
        if self.expected is None:
            self._offset += count
            return
        while count:
            if not self._left and (length := self._begin()) <= count:
                self._offset += length
                self._end_leaf(_zeros_digest(length) if length <= len(_ZEROS) else b"")
                count -= length
                continue
            part = min(self._left, count, len(_ZEROS))
            self._hash(_ZEROS[:part], set())
            count -= part

    def end(self) -> None:
        """That was all: a leaf that lacks bytes differs."""
        if self._left:
            self.bad_leaves.append(self._start)

    def _compare_unit(self, offset: int, found: bytes, unreadable: set[int]) -> None:
        place = offset // UNIT * SUM_SIZE
        if offset in unreadable or found != self.sums[place : place + SUM_SIZE]:
            self.bad_units.append(offset)

    def _hash(self, data: memoryview, unreadable: set[int]) -> None:
        if self.expected is None:
            self._offset += len(data)
            return
        at = 0
        while at < len(data):
            if not self._left:
                self._begin()
            part = data[at : at + self._left]
            self._leaf.update(part)
            if any(self._offset < unit + UNIT and unit < self._offset + len(part) for unit in unreadable):
                self._leaf.update(b"unreadable")
            at += len(part)
            self._offset += len(part)
            self._left -= len(part)
            if not self._left:
                self._end_leaf(self._leaf.digest())

    def _begin(self) -> int:
        assert self.expected is not None
        self._left, self._digest = next(self.expected, (self.size, b""))
        self._leaf, self._start = sha256(), self._offset
        return self._left

    def _end_leaf(self, found: bytes) -> None:
        self._left = 0
        if found != self._digest:
            self.bad_leaves.append(self._start)


def _reader(source: Source) -> Callable[[int, int], bytes]:
    def read_at(offset: int, length: int) -> bytes:
        view = memoryview(bytearray(length))
        return bytes(view[: source.read_into(view, offset)])

    return read_at


def _fill(source: Source, view: memoryview, offset: int) -> memoryview:
    if source.read_into(view, offset) < len(view):
        raise EndedEarly
    return view


def _fill_what_can_be(source: Source, view: memoryview, offset: int) -> tuple[memoryview, set[int]]:
    """Fill `view` as far as the disk lets it; the offsets of the units that it does not."""
    try:
        return _fill(source, view, offset), set()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    unreadable = set()
    for at in range(0, len(view), UNIT):
        unit = view[at : at + UNIT]
        try:
            _fill(source, unit, offset + at)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            unreadable.add(offset + at)
    return view, unreadable


def _whole_digest(leaves: bytes, computed: bytes) -> bytes:
    """The digest of the whole file: that of its leaf where it has only one, and a known one where it has none."""
    if not leaves:
        return sha256().digest()
    return leaves[4:] if len(leaves) == LEAF_SIZE else computed
