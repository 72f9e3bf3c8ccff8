"""What lies behind a CID, and how much of it is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from ipfsfs.exchange.here import Here
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import reading
from ipfsfs.unixfs.reading import Directory, File, Shard, Symlink
from ipfsfs.unixfs.tree_walk import TreeEntry

_TURN: Final = 64
"""Leaves that are read and compared between two reports."""


@dataclass(slots=True)
class Summary:
    """`names` of a tree without its own; `size`: bytes of all its files, and how many of those
    are here (`here_size`); `leaves` of a file
    or of the tree's files, each as often as it is there. `lacking`: the first block that is not here, if one is not."""

    kind: str = ""
    names: int = 0
    size: int = 0
    here_size: int = 0
    leaves: int = 0
    lacking: bytes | None = None

    @property
    def is_here(self) -> bool:
        """Whether all of it is."""
        return self.lacking is None


@dataclass(slots=True, frozen=True)
class Summing:
    """Sums up a root: nodes are had from `origin`, and leaves looked for `here`."""

    here: Here
    origin: Origin
    report: Callable[[Summary], None]

    async def run(self, root: bytes) -> Summary:
        """Raises OriginError where a node cannot be had, FormatError."""
        node = reading.read(root, await self.origin.block(root))
        if isinstance(node, Symlink):
            return Summary("link", size=len(node.target), here_size=len(node.target), lacking=await self._lacking(root))
        if isinstance(node, File):
            found = Summary("file")
            await self._file(root, found)
            return found
        assert isinstance(node, Directory | Shard)
        found = Summary("directory", lacking=await self._lacking(root))
        async for entries in dag.tree(self.origin, root):
            await self.here.learn([entry.cid for entry in entries])
            for entry in entries:
                await self._entry(entry, found)
        return found

    async def _entry(self, entry: TreeEntry, found: Summary) -> None:
        if not entry.path:
            return
        found.names += 1
        if entry.kind == "file":
            await self._file(entry.cid, found, entry.size)
        elif found.lacking is None:
            found.lacking = await self._lacking(entry.cid)

    async def _lacking(self, node: bytes) -> bytes | None:
        return None if await self.here.has(node) else node

    async def _file(self, root: bytes, found: Summary, size: int | None = None) -> None:
        """Add a file. `size`: of a raw block, where its directory says it."""
        sealed = self.here.whole.get(root)
        if cids.unixfs_codec(root) == cids.RAW and size is not None:
            leaves = [(root, size)] if size else []
        else:
            walk = await dag.file(self.origin, root, None)
            leaves = [(leaf.cid, leaf.length) for leaf in walk.leaves()]
            if found.lacking is None:
                found.lacking = await self._lacking(root)
        for count, (leaf, length) in enumerate(leaves):
            found.leaves += 1
            found.size += length
            if sealed is not None or await self.here.has(leaf):
                found.here_size += length
            elif found.lacking is None:
                found.lacking = leaf
            if count % _TURN == 0:
                self.report(found)
                await trio.lowlevel.checkpoint()
