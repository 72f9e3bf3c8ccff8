"""Reading what lies behind a CID from an origin: files by their leaves, trees, and small files whole.

The walks of `ipfsfs.unixfs` say which blocks they need, and refuse what is hostile; blocks are asked for side by side.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import trio

from ipfsfs.errors import FormatError, IpfsfsError, UsageError
from ipfsfs.origins.origin import Origin
from ipfsfs.printed import printable
from ipfsfs.unixfs import cid, reading
from ipfsfs.unixfs.file_walk import FileWalk
from ipfsfs.unixfs.hamt import Place
from ipfsfs.unixfs.reading import Directory, File, Shard
from ipfsfs.unixfs.tree_walk import TreeEntry, TreeWalk

_WIDTH: Final = 16
"""Blocks that are asked for at the same time."""
_MODE: Final = 0o644

Call = tuple[Callable[..., Awaitable[None]], *tuple[Any, ...]]


async def blocks(origin: Origin, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
    """Some blocks, side by side. Raises OriginError."""
    found: dict[bytes, bytes] = {}

    async def ask(block_cid: bytes) -> None:
        found[block_cid] = await origin.block(block_cid)

    await side_by_side([(ask, block_cid) for block_cid in wanted])
    return found


async def _tells_nobody(nodes: int) -> None:
    del nodes


async def file(
    origin: Origin, root: bytes, size: int | None, report: Callable[[int], Awaitable[None]] = _tells_nobody
) -> FileWalk:
    """A file, of `size` bytes if that is known, whose nodes were all read. `report` is told how many have come.

    Raises OriginError, FormatError.
    """
    walk, nodes = FileWalk(root, size), 0
    while wanted := walk.wanted():
        found = await blocks(origin, wanted[:_WIDTH])
        for block_cid, block in found.items():
            walk.give(block_cid, block)
        nodes += len(found)
        await report(nodes)
    return walk


async def whole(origin: Origin, root: bytes, size: int) -> bytes:
    """All bytes of a small file. Raises OriginError; FormatError where it does not have `size` bytes."""
    leaves = list((await file(origin, root, size)).leaves())
    found = await blocks(origin, list({leaf.cid for leaf in leaves}))
    data = b"".join([reading.content(leaf.cid, found[leaf.cid]) for leaf in leaves])
    if len(data) != size:
        raise FormatError(f"{cid.to_text(root)} has {len(data)} bytes, its directory says {size}")
    return data


async def below(origin: Origin, root: bytes, path: bytes) -> bytes:
    """The CID of what lies at a path (names with "/" between) below a root. Reads no more than the directories on the
    way.

    Raises UsageError where nothing lies there, OriginError, FormatError.
    """
    at = root
    for name in path.split(b"/"):
        node = reading.read(at, await origin.block(at))
        found = None
        if isinstance(node, Directory):
            found = next((link.cid for link in node.entries if link.name == name), None)
        elif isinstance(node, Shard):
            found = await _in_shards(origin, at, node, name)
        if found is None:
            raise UsageError(f"{cid.to_text(root)} has no {printable(os.fsdecode(path))}")
        at = found
    return at


async def _in_shards(origin: Origin, at: bytes, node: Shard, name: bytes) -> bytes | None:
    """The CID of a name in a directory of shards."""
    place = Place(node.fanout)
    while True:
        here = [slot for slot in node.slots if place.below(slot.number).has(name)]
        if not here:
            return None
        (slot,) = here
        if slot.name:
            return slot.cid if slot.name == name else None
        place = place.below(slot.number)
        below_it = reading.read(slot.cid, await origin.block(slot.cid))
        if not isinstance(below_it, Shard) or below_it.fanout != place.fanout:
            raise reading.fault(slot.cid, f"not the shard of fanout {place.fanout} that {cid.to_text(at)} says it is")
        node = below_it


async def tree(origin: Origin, root: bytes, levels: float = math.inf) -> AsyncIterator[list[TreeEntry]]:
    """The entries of a tree as they become known, the root first, under an empty path; it may be a file. `levels`: how
    many directories deep, as for `TreeWalk`.

    Raises OriginError, FormatError.
    """
    block = await origin.block(root)
    if cid.codec(root) == cid.RAW or not isinstance(reading.read(root, block), Directory | Shard):
        yield [await _single(origin, root, block)]
        return
    yield [TreeEntry(b"", "directory", root, None, 0, b"", 0o755)]
    walk = TreeWalk(root, levels)
    yield walk.give(root, block)
    while wanted := walk.wanted():
        for block_cid, found in (await blocks(origin, wanted[:_WIDTH])).items():
            yield walk.give(block_cid, found)


async def _single(origin: Origin, root: bytes, block: bytes) -> TreeEntry:
    """The entry of a root that is no directory. Raises FormatError where it is no file either."""
    if cid.codec(root) == cid.RAW:
        return TreeEntry(b"", "file", root, len(block), len(block), b"", _MODE)
    node = reading.read(root, block)
    if not isinstance(node, File):
        raise FormatError(f"{cid.to_text(root)} is neither a file nor a directory")
    walk = await file(origin, root, node.size)
    mode = _MODE if node.metadata.mode is None else node.metadata.mode & 0o777
    return TreeEntry(b"", "file", root, walk.size, walk.tsize, b"", mode)


async def side_by_side(calls: Sequence[Call]) -> None:
    """Run all; the first error of ours, or of the system's, ends the others, and is raised as it is."""
    errors: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def one(function: Callable[..., Awaitable[None]], *arguments: Any) -> None:
            try:
                await function(*arguments)
            except (IpfsfsError, OSError) as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        for function, *arguments in calls:
            nursery.start_soon(one, function, *arguments)
    if errors:
        raise errors[0]
