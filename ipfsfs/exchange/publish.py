"""Publishing: the blocks of a tree that a node lacks are streamed to it, and the root is pinned there.

The tree is read twice: for its CID, and for the blocks that are to be sent. Each leaf is compared with its CID as it is
sent, so that a file that changes meanwhile ends the publishing, and never reaches the node under the old name.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.errors import IpfsfsError, OriginError
from ipfsfs.origins.origin import Publisher
from ipfsfs.plain import quiet
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs import car, cid
from ipfsfs.unixfs.reference import Reference

_CAR_MOST: Final = 256 << 20
"""Bytes of blocks in one CAR: what has to be sent again where a node goes away in the middle of it."""
_ASKED_AT_ONCE: Final = 4096
"""Blocks whose presence is asked for before the first of them is sent."""


class _Where(NamedTuple):
    """Where the bytes of a leaf lie, in a file by its path from the plain root."""

    path: bytes
    offset: int
    length: int


@dataclass(slots=True)
class Published:
    """How far it is: blocks of the tree and their bytes, and those that the node lacked and has been sent."""

    blocks: int = 0
    bytes: int = 0
    looked_at: int = 0
    sent_blocks: int = 0
    sent_bytes: int = 0


@dataclass(slots=True)
class TreeBlocks:
    """The blocks of a tree, gathered while its CID is found (fills `ipfsfs.exchange.trees.Blocks`)."""

    nodes: dict[bytes, bytes] = field(default_factory=dict)
    leaves: dict[bytes, _Where] = field(default_factory=dict)
    names: list[bytes] = field(default_factory=list)
    """The paths of all that is in the tree, as `Blocks.name` is told them."""

    def name(self, path: bytes) -> None:
        """As `Blocks`."""
        self.names.append(path)

    def node(self, node_cid: bytes, block: bytes) -> None:
        """As `Blocks`."""
        self.nodes[node_cid] = block

    def file(self, path: bytes, leaves: list[tuple[int, bytes]]) -> None:
        """As `Blocks`."""
        offset = 0
        for length, digest in leaves:
            self.leaves[cid.raw_cid(digest)] = _Where(path, offset, length)
            offset += length

    def leaf(self, plain: PlainDirectory, block_cid: bytes) -> bytes:
        """The bytes of a leaf, compared with its CID. Raises IpfsfsError where the file was changed, OSError."""
        path, offset, length = self.leaves[block_cid]
        fd = quiet.open_regular(plain.fd, path)
        try:
            data = os.pread(fd, length, offset)
        finally:
            os.close(fd)
        if hashlib.sha256(data).digest() != cid.digest(block_cid):
            raise IpfsfsError(f"{os.fsdecode(path)} was changed while it was read", hint="Try again once it rests.")
        return data

    def placeholder(self, path: bytes, stands_for: Reference) -> None:
        """As `Blocks`: what a node is sent is read through a view, which shows no placeholder."""

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self.nodes.values())) + sum(where.length for where in self.leaves.values())

    def cids(self) -> list[bytes]:
        """All blocks, leaves first: a node that is there stands for what is below it."""
        return [*self.leaves, *self.nodes]


@dataclass(slots=True)
class Publish:
    """Publishes one tree of a plain directory, which users know as `root`."""

    plain: PlainDirectory
    blocks: TreeBlocks
    publisher: Publisher
    report: Callable[[Published], None]
    progress: Published = field(default_factory=Published)

    async def run(self, root: bytes) -> Published:
        """Have every block of the tree at the node, and the root pinned. Raises OriginError, IpfsfsError, OSError."""
        self.progress.blocks = len(self.blocks.nodes) + len(self.blocks.leaves)
        self.progress.bytes = self.blocks.size
        cids = self.blocks.cids()
        for at in range(0, len(cids), _ASKED_AT_ONCE):
            asked = cids[at : at + _ASKED_AT_ONCE]
            lacking = await self.publisher.missing(asked)
            for batch in self._batches([block_cid for block_cid in asked if block_cid in lacking]):
                await self._send(root, batch)
            self.progress.looked_at += len(asked)
            self.report(self.progress)
        return self.progress

    def _batches(self, cids: list[bytes]) -> Iterator[list[bytes]]:
        """Cuts blocks so that each part fits a CAR."""
        batch: list[bytes] = []
        size = 0
        for block_cid in cids:
            length = self._length(block_cid)
            if batch and size + length > _CAR_MOST:
                yield batch
                batch, size = [], 0
            batch.append(block_cid)
            size += length
        if batch:
            yield batch

    def _length(self, block_cid: bytes) -> int:
        where = self.blocks.leaves.get(block_cid)
        return len(self.blocks.nodes[block_cid]) if where is None else where.length

    async def _send(self, root: bytes, batch: list[bytes]) -> None:
        await self.publisher.put(self._car(root, batch))
        if lost := await self.publisher.missing(batch):
            shown = cid.to_text(next(iter(lost)))
            raise OriginError(
                f"the node took {len(batch)} blocks without an error, and lacks {len(lost)} of them, such as {shown}",
                hint="Look at the node's log, and at the room on its disk.",
            )

    async def _car(self, root: bytes, batch: list[bytes]) -> AsyncIterator[bytes]:
        yield car.header([root])
        for block_cid in batch:
            block = self.blocks.nodes.get(block_cid)
            if block is None:
                block = await trio.to_thread.run_sync(self.blocks.leaf, self.plain, block_cid)
            yield car.frame(block_cid, block)
            self.progress.sent_blocks += 1
            self.progress.sent_bytes += len(block)
            self.report(self.progress)
