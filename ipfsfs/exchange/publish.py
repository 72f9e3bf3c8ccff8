"""Publishing: the blocks of a tree that a node lacks are streamed to it, and the root is pinned there.

The tree is read for its CID, where no seal says that, and for the blocks that are to be sent. Each leaf is compared
with its CID as it is sent, so that a file that changes meanwhile ends the publishing, and never reaches the node under
the old name. Several CARs are on their way at once: the node writes one while it is asked about the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.errors import IpfsfsError, OriginError
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Publisher
from ipfsfs.plain import quiet
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import counted
from ipfsfs.unixfs import car, cid, file
from ipfsfs.unixfs.reference import Reference

_CAR_MOST: Final = 64 << 20
"""Bytes of blocks in one CAR: what has to be sent again where a node goes away in the middle of it."""
_BLOCKS_MOST: Final = 4096
"""Blocks whose presence is asked for before the first of them is sent."""
_SAMPLE: Final = 8
"""Blocks of a part that are asked for first."""
_LOOKED_FOR: Final = 2
"""Blocks of a CAR that are asked for once it was sent."""
_CARS: Final = 3
"""CARs that are prepared or sent at the same time."""


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
    files: set[bytes] = field(default_factory=set)
    """The roots of all files."""
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
        self.files.add(file.build([(cid.raw_cid(digest), length) for length, digest in leaves]).cid)

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
        leaves = self._parts(self.blocks.leaves)
        await dag.side_by_side([(self._work, root, leaves)] * _CARS)
        await self._work(root, self._parts(self.blocks.nodes))  # a node that is there stands for what is below it
        return self.progress

    async def send_root(self, root: bytes) -> Published:
        """Have the node hold the block of the root, and nothing below it. Raises as `run` does."""
        self.progress.blocks, self.progress.bytes = 1, self._length(root)
        await self._work(root, iter([[root]]))
        return self.progress

    async def _work(self, root: bytes, parts: Iterator[list[bytes]]) -> None:
        """Have the node hold parts, one after the other; others may take from them too."""
        for part in parts:
            lacking = await self._lacking(part)
            if lacking:
                await self._send(root, [block_cid for block_cid in part if block_cid in lacking])
            self.progress.looked_at += len(part)
            self.report(self.progress)

    async def _lacking(self, part: list[bytes]) -> set[bytes]:
        """The blocks of a part that the node is to be sent: those it lacks, or all where it has none of a sample. To
        ask about a block takes both sides as long as to send 200 KiB of it."""
        sample = _some(part, _SAMPLE)
        lacking = await self.publisher.missing(sample)
        if len(lacking) == len(sample):
            return set(part)
        return lacking | await self.publisher.missing(set(part).difference(sample))

    def _parts(self, cids: Iterable[bytes]) -> Iterator[list[bytes]]:
        """Cuts blocks so that each part fits a CAR."""
        part: list[bytes] = []
        size = 0
        for block_cid in cids:
            length = self._length(block_cid)
            if part and (size + length > _CAR_MOST or len(part) == _BLOCKS_MOST):
                yield part
                part, size = [], 0
            part.append(block_cid)
            size += length
        if part:
            yield part

    def _length(self, block_cid: bytes) -> int:
        where = self.blocks.leaves.get(block_cid)
        return len(self.blocks.nodes[block_cid]) if where is None else where.length

    async def _send(self, root: bytes, batch: list[bytes]) -> None:
        await self.publisher.put(self._car(root, batch))
        # Whether it has them all is seen when the root is pinned, for which it reads every block.
        if lost := await self.publisher.missing(_some(batch, _LOOKED_FOR)):
            shown = cid.to_text(next(iter(lost)))
            raise OriginError(
                f"the node took {counted(len(batch), 'block')} without an error, and lacks some, such as {shown}",
                hint="Look at the node's log, and at the room on its disk.",
            )

    async def _car(self, root: bytes, batch: list[bytes]) -> AsyncIterator[bytes]:
        yield car.header([root])
        for block_cid in batch:
            block = self.blocks.nodes.get(block_cid)
            if block is None:
                block = await trio.to_thread.run_sync(self.blocks.leaf, self.plain, block_cid)
            yield car.before(block_cid, len(block))
            yield block
            self.progress.sent_blocks += 1
            self.progress.sent_bytes += len(block)
            self.report(self.progress)


def _some(cids: list[bytes], count: int) -> list[bytes]:
    """About so many of them, from the first on, at equal distances."""
    return cids[:: -(-len(cids) // count)]
