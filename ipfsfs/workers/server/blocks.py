"""Blocks from the files that are here. What is returned was compared with its CID, and is what is to be sent (H47).

A file is opened for each block by its path below the plain root, and crosses no link; what stands there may be another
file by now, or hold other bytes: then the block is not here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import trio

from ipfsfs.errors import FormatError
from ipfsfs.plain import quiet
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.extents import extent_name
from ipfsfs.unixfs import cid as cids
from ipfsfs.workers.server.catalog import Catalog, Found, InStore, LeafAt, NodeOf
from ipfsfs.workers.server.offer import Offer

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READERS: Final = 8
"""Threads that read and hash."""


class Block(NamedTuple):
    """A block that may be sent. `public`: whether anyone may have it."""

    data: bytes
    public: bool


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
        try:
            fd = self._open(found.offered.offer)
        except OSError:
            return None
        try:
            if os.fstat(fd).st_size != found.offered.offer.size:
                return None
            if isinstance(found, LeafAt):
                offset, length, _ = found.offered.leaf(found.index)
                return os.pread(fd, length, offset)
            return _node(digest, found)
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
