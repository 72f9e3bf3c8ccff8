"""Reading content out by its CID: the bytes of a file, and the blocks of a tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.printed import command
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import reading
from ipfsfs.unixfs.file_walk import Leaf
from ipfsfs.unixfs.reading import Directory, File, Node, Shard

_WIDTH: Final = 16
"""Blocks that are asked for at the same time, and held in memory: 32 MiB at most."""

BLOCKS_MAX: Final = 2_000_000
"""Blocks of a tree that is read out; which of them were met takes some 100 bytes each."""


async def file(origin: Origin, root: bytes, offset: int = 0, length: int | None = None) -> AsyncIterator[memoryview]:
    """The bytes of a file, from `offset` on and at most `length`, each leaf after it was compared with its CID.

    Raises UsageError for what is no file, OriginError, FormatError.
    """
    node = reading.read(root, await origin.block(root))
    if not isinstance(node, File):
        raise UsageError(f"{cids.to_text(root)} is not a file", hint=f"To see what it is: {command('stat CID')}")
    walk = await dag.file(origin, root, node.size)
    end = walk.size if length is None else min(walk.size, offset + length)
    wanted = (leaf for leaf in walk.leaves() if leaf.offset < end and leaf.offset + leaf.length > offset)
    for batch in _batches(wanted):
        found = await dag.blocks(origin, list({leaf.cid for leaf in batch}))
        for leaf in batch:
            data = reading.content(leaf.cid, found[leaf.cid])
            if len(data) != leaf.length:
                raise FormatError(f"{cids.to_text(leaf.cid)} has {len(data)} bytes, its file says {leaf.length}")
            yield memoryview(data)[max(0, offset - leaf.offset) : end - leaf.offset]


def _batches(leaves: Iterable[Leaf]) -> Iterable[list[Leaf]]:
    batch: list[Leaf] = []
    for leaf in leaves:
        batch.append(leaf)
        if len(batch) == _WIDTH:
            yield batch
            batch = []
    if batch:
        yield batch


async def blocks(
    origin: Origin, root: bytes, learn: Callable[[Iterable[bytes]], Awaitable[None]]
) -> AsyncIterator[tuple[bytes, bytes]]:
    """All blocks of a file or tree, each once: a node before what it links to, links in their order.

    `learn` is told the roots of the entries of each directory before they are asked for. Raises OriginError, which
    names the block that cannot be had, and FormatError.
    """
    met = {root}
    waiting = [root]
    while waiting:
        batch = [waiting.pop()]
        while waiting and len(batch) < _WIDTH and _is_raw(batch[-1]) and _is_raw(waiting[-1]):
            batch.append(waiting.pop())
        found = await dag.blocks(origin, batch)
        for block_cid in batch:
            yield block_cid, found[block_cid]
        node = reading.read(batch[-1], found[batch[-1]])
        new = [one for one in dict.fromkeys(links(node)) if one not in met]
        met.update(new)
        if len(met) > BLOCKS_MAX:
            raise FormatError(f"{cids.to_text(root)} has more than {BLOCKS_MAX} blocks")
        waiting += reversed(new)
        if isinstance(node, Directory | Shard):
            await learn(new)


def links(node: Node) -> list[bytes]:
    """The CIDs that a block links to, in order."""
    match node:
        case File(parts=parts):
            return [part.cid for part in parts]
        case Directory(entries=entries):
            return [link.cid for link in entries]
        case Shard(slots=slots):
            return [slot.cid for slot in slots]
        case _:
            return []


def _is_raw(cid: bytes) -> bool:
    return cids.unixfs_codec(cid) == cids.RAW
