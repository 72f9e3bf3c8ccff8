"""From a file's bytes to its leaves, checksums and root, in one pass, and the same pass again as a comparison.

Both are generators: they yield the number of bytes done after each buffer (1 MiB), so that whoever drives them can do
something more urgent in between; the result is their return value. Between two yields nothing is kept in the buffer,
so all of them may share one.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import xxhash

from ipfsfs.store.seal import LEAF_SIZE, SUM_SIZE, UNIT, pack_leaf, root_of
from ipfsfs.unixfs import chunk
from ipfsfs.unixfs.chunk import Chunker


class EndedEarly(Exception):
    """The file has fewer bytes than it had."""


class Source(Protocol):
    """Where bytes come from."""

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset` on; fewer bytes only at the end of the file. Raises OSError."""

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
    """Offsets of the units and leaves that are not what they were; `sha256` of the whole, empty where not asked for."""

    units: tuple[int, ...]
    leaves: tuple[int, ...]
    sha256: bytes


def new_buffer() -> memoryview:
    """A buffer for the functions below: a leaf long, so it stays in the processor's cache, and at a page's start."""
    return memoryview(mmap.mmap(-1, chunk.LEAF_MAX))


def hash_file(
    source: Source, size: int, chunker: Chunker, buffer: memoryview, *, whole: bool = False
) -> Generator[int, None, Hashed]:
    """Hash `size` bytes of `source`; with `whole` also all of them together, which costs as much again.

    Raises EndedEarly, and what reading raises.
    """
    lengths = chunk.plan(_reader(source), size, chunker)
    leaves, sums = bytearray(), bytearray()
    total = sha256() if whole else None
    length = left = offset = 0
    leaf = sha256()
    while offset < size:
        data = _fill(source, buffer[: size - offset], offset)
        for at in range(0, len(data), UNIT):
            sums += xxhash.xxh3_64_intdigest(data[at : at + UNIT]).to_bytes(SUM_SIZE, "little")
        if total is not None:
            total.update(data)
        at = 0
        while at < len(data):
            if not left:
                length = left = next(lengths)
                leaf = sha256()
            part = data[at : at + left]
            leaf.update(part)
            at += len(part)
            left -= len(part)
            if not left:
                leaves += pack_leaf(length, leaf.digest())
        offset += len(data)
        source.release(offset)
        yield len(data)
    return Hashed(root_of(leaves), bytes(leaves), bytes(sums), _whole_digest(leaves, total.digest() if total else b""))


def compare(
    source: Source,
    size: int,
    leaves: Iterable[tuple[int, bytes]],
    sums: bytes,
    buffer: memoryview,
    *,
    whole: bool = False,
) -> Generator[int, None, Differences]:
    """Compare `size` bytes of `source` with their leaves (length, sha2-256) and checksums.

    What the disk refuses to read (EIO) differs. Raises EndedEarly, and what else reading raises.
    """
    expected = iter(leaves)
    bad_units: list[int] = []
    bad_leaves: list[int] = []
    total = sha256() if whole else None
    left = offset = start = 0
    leaf, digest = sha256(), b""
    while offset < size:
        data, unreadable = _fill_what_can_be(source, buffer[: size - offset], offset)
        for at in range(0, len(data), UNIT):
            found = xxhash.xxh3_64_intdigest(data[at : at + UNIT]).to_bytes(SUM_SIZE, "little")
            place = (offset + at) // UNIT * SUM_SIZE
            if offset + at in unreadable or found != sums[place : place + SUM_SIZE]:
                bad_units.append(offset + at)
        if total is not None:
            total.update(data)
        at = 0
        while at < len(data):
            if not left:
                left, digest = next(expected, (size, b""))
                leaf, start = sha256(), offset + at
            part = data[at : at + left]
            leaf.update(part)
            if any(offset + at < unit + UNIT and unit < offset + at + len(part) for unit in unreadable):
                leaf.update(b"unreadable")
            at += len(part)
            left -= len(part)
            if not left and leaf.digest() != digest:
                bad_leaves.append(start)
        offset += len(data)
        source.release(offset)
        yield len(data)
    if left:
        bad_leaves.append(start)
    return Differences(tuple(bad_units), tuple(bad_leaves), total.digest() if total else b"")


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


def _whole_digest(leaves: bytearray, computed: bytes) -> bytes:
    """The digest of the whole file: that of its leaf where it has only one, and a known one where it has none."""
    if not leaves:
        return sha256().digest()
    return bytes(leaves[4:]) if len(leaves) == LEAF_SIZE else computed
