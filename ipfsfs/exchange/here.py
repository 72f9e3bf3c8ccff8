"""Blocks that are here: imported ones, those of sealed files, leaves in extents, and what pins hold. None is given
unchecked.

Files and extents hold no blocks but the bytes of leaves. The nodes above them follow from the leaves, and are made
again: which is known to be right where the root comes out that was asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import trio

from ipfsfs.errors import FormatError, NotHeld
from ipfsfs.exchange.kept_blocks import KeptBlocks
from ipfsfs.origins.origin import gives
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.extents import Extents
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import file
from ipfsfs.workers.fetcher.table import LeafTable, pack

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Sealed(NamedTuple):
    """A file that is sealed as `root`: where it can be read, its size, and its packed leaves (`Seal.leaves`)."""

    root: bytes
    path: Path
    size: int
    leaves: bytes


class Residents(Protocol):
    """Who knows which files are sealed as some roots."""

    def find(self, roots: Sequence[bytes]) -> list[Sealed]:
        """One file at most for each root. Waits for the answer. Raises IpfsfsError."""


class _Part(NamedTuple):
    """Where the bytes of a leaf lie: in a file by its path, or in an extent by its name."""

    at: Path | str
    offset: int
    length: int


@dataclass(slots=True, eq=False)
class Here:
    """An origin that asks nobody. `learn` first which roots will be wanted: files and extents are looked up by root."""

    blocks: Blocks
    extents: Extents
    residents: Residents
    kept: KeptBlocks
    _nodes: dict[bytes, bytes] = field(default_factory=dict)
    _parts: dict[bytes, list[_Part]] = field(default_factory=dict)
    _known: set[bytes] = field(default_factory=set)
    whole: dict[bytes, Sealed] = field(default_factory=dict)
    """By root, the sealed files that were learnt of."""

    @property
    def name(self) -> str:
        """As `Origin`."""
        return "the store"

    async def learn(self, roots: Iterable[bytes]) -> None:
        """Find out what files and extents hold of some roots. Raises IpfsfsError."""
        new = [root for root in dict.fromkeys(roots) if root not in self._known and cids.unixfs_codec(root) is not None]
        self._known.update(new)
        if not new:
            return
        for sealed in await trio.to_thread.run_sync(self.residents.find, new):
            self._learn_file(sealed)
        sizes = self.extents.sizes()
        for root in new:
            for size in sizes.get(root, ()):
                self._learn_extent(root, size)

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`. Raises NotHeld."""
        found = self._look(cid)
        if found is not None:
            return found
        try:
            return await self.kept.block(cid)
        except NotHeld as error:
            raise NotHeld(f"{cids.to_text(cid)} is not here") from error

    async def has(self, cid: bytes) -> bool:
        """As `Origin`; the block is read, and compared."""
        return await gives(self, cid)

    async def aclose(self) -> None:
        """As `Origin`."""

    def _look(self, cid: bytes) -> bytes | None:
        """A block of what was learnt, or imported, compared with its CID; None where it is none of that."""
        found = self._nodes.get(cid)
        if found is None:
            found = self.blocks.read(cid)
        if found is None:
            found = next((data for part in self._parts.get(cid, ()) if (data := self._read(cid, part))), None)
        return found

    def _learn_file(self, sealed: Sealed) -> None:
        leaves = [(cids.raw_cid(digest), length) for length, digest in unpack_leaves(sealed.leaves)]
        if self._learn_nodes(sealed.root, leaves):
            self.whole[sealed.root] = sealed
            self._learn_parts(sealed.path, leaves)

    def _learn_extent(self, root: bytes, size: int) -> None:
        try:
            table = self._table(root, size)
        except FormatError:
            return
        name = self.extents.name(root, size)
        leaves = [(leaf.cid, leaf.length) for leaf in table]
        if all(cids.codec(leaf) == cids.RAW for leaf, _ in leaves):
            self._learn_nodes(root, leaves)
        self._learn_parts(name, leaves)

    def _table(self, root: bytes, size: int) -> LeafTable:
        if cids.codec(root) == cids.RAW:
            return LeafTable(pack(0, size, root) if size else b"")
        return LeafTable(self.extents.read_table(root, size) or b"")

    def _learn_nodes(self, root: bytes, leaves: list[tuple[bytes, int]]) -> bool:
        """Make the nodes over leaves again; returns whether they are those of the root."""
        dag = file.build(leaves)
        if dag.cid != root:
            return False
        self._nodes.update(dag.nodes)
        if not leaves:
            self._nodes[root] = b""
        return True

    def _learn_parts(self, at: Path | str, leaves: list[tuple[bytes, int]]) -> None:
        offset = 0
        for leaf, length in leaves:
            if cids.codec(leaf) == cids.RAW:
                self._parts.setdefault(leaf, []).append(_Part(at, offset, length))
            offset += length

    def _read(self, cid: bytes, part: _Part) -> bytes | None:
        try:
            fd = os.open(part.at, _READ, dir_fd=self.extents.fd if isinstance(part.at, str) else None)
            try:
                data = os.pread(fd, part.length, part.offset)
            finally:
                os.close(fd)
            cids.check(cid, data)
        except (OSError, FormatError):
            return None
        return data
