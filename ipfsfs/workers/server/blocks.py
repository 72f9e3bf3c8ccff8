"""Blocks from the files that are here. What is returned was compared with its CID, and is what is to be sent (H47).

A file is opened for each block by its path below the plain root, and crosses no link; what stands there may be another
file by now, or hold other bytes: then the block is not here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import trio

from ipfsfs.errors import FormatError
from ipfsfs.plain import quiet
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.extents import extent_name
from ipfsfs.unixfs import cid as cids
from ipfsfs.workers.server.asked import Run
from ipfsfs.workers.server.catalog import Catalog, Found, InStore, LeafAt, NodeOf
from ipfsfs.workers.server.offer import Offer

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READERS: Final = 8
"""Threads that read and hash."""


class Block(NamedTuple):
    """A block that may be sent. `public`: whether anyone may have it."""

    data: bytes
    public: bool
    leaves: int = 1
    """How many it is, where it is leaves that lie one after the other."""


@dataclass(slots=True)
class HereBlocks:
    """Gives blocks of what is offered. `plain_fd`, `extents_fd`: the directories they lie in."""

    catalog: Catalog
    stored: Blocks
    plain_fd: int
    extents_fd: int
    _readers: trio.CapacityLimiter

    @classmethod
    def of(cls, catalog: Catalog, blocks_fd: int, plain_fd: int, extents_fd: int) -> HereBlocks:
        """With threads of their own."""
        return cls(catalog, Blocks(blocks_fd), plain_fd, extents_fd, trio.CapacityLimiter(_READERS))

    async def get(self, cid: bytes, *, only_public: bool) -> Block | None:
        """A block by its CID; None where it is not here, or may not be given."""
        try:
            digest = cids.digest(cid)
        except FormatError:  # of another hash
            return None
        if digest == cids.digest(cids.EMPTY):  # the leaf of every empty file
            return Block(b"", True)
        found = [one for one in self.catalog.find(digest) if _is_public(one) or not only_public]
        if not found:
            return None
        # One that anyone may have is given as such, whoever asks: caches on the way may keep it.
        found.sort(key=_is_public, reverse=True)
        return await trio.to_thread.run_sync(self._first, digest, found, limiter=self._readers)

    async def run(self, cid: bytes, run: Run, *, only_public: bool) -> Block | None:
        """A leaf of a file, and those behind it that are asked for, of 2 MiB at most; None where the file is not here,
        or may not be given, or has the leaf at another place first."""
        try:
            digest = cids.digest(cid)
        except FormatError:
            return None
        for one in self.catalog.find(digest):
            if isinstance(one, LeafAt) and one.offered.offer.root == run.root and (_is_public(one) or not only_public):
                if one.offered.leaf(one.index)[0] != run.at:
                    return None
                return await trio.to_thread.run_sync(self._run, one, run.count, limiter=self._readers)
        return None

    def _run(self, first: LeafAt, count: int) -> Block | None:
        wanted = list(first.offered.run(first.index, max(1, count)))
        start, total = wanted[0][0], sum(length for _, length, _ in wanted)
        data = self._read(first.offered.offer, lambda fd: os.pread(fd, total, start))
        if data is None:
            return None
        good, end, view = 0, 0, memoryview(data)
        for _, length, digest in wanted:
            if sha256(view[end : end + length]).digest() != digest:
                break
            good, end = good + 1, end + length
        if not good:
            return None
        # No cache is to take several leaves for one.
        return Block(data[:end], _is_public(first) and good == 1, good)

    def _first(self, digest: bytes, found: list[Found]) -> Block | None:
        for one in found:
            data = self._data(digest, one)
            if data is not None and sha256(data).digest() == digest:
                return Block(data, _is_public(one))
        return None

    def _data(self, digest: bytes, found: Found) -> bytes | None:
        """What should be the block; None where that cannot be read."""
        if isinstance(found, InStore):
            return self.stored.read(cids.dag_pb_cid(digest))
        if isinstance(found, LeafAt):
            offset, length, _ = found.offered.leaf(found.index)
            return self._read(found.offered.offer, lambda fd: os.pread(fd, length, offset))
        return self._read(found.offered.offer, lambda _: _node(digest, found))

    def _read(self, offer: Offer, read: Callable[[int], bytes | None]) -> bytes | None:
        """What is read of a file that is offered; None where that is not there as it was."""
        try:
            fd = self._open(offer)
        except OSError:
            return None
        try:
            return read(fd) if os.fstat(fd).st_size == offer.size else None
        except OSError:
            return None
        finally:
            os.close(fd)

    def _open(self, offer: Offer) -> int:
        """Raises OSError."""
        if offer.place == "plain":
            return quiet.open_regular(self.plain_fd, offer.path)
        return os.open(extent_name(*offer.key), _READ, dir_fd=self.extents_fd)


def _node(digest: bytes, found: NodeOf) -> bytes | None:
    if found.number is None:
        return found.offered.upper.get(digest)
    return found.offered.node(found.number)


def _is_public(found: Found) -> bool:
    return found.public if isinstance(found, InStore) else found.offered.offer.public
