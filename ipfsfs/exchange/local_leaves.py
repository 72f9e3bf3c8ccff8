"""The first origin is this machine: which sealed files hold leaves that are wanted, and where.

Content is found by its hash, whoever owns the file: only who mounted can make a placeholder, and the daemon reads
nothing that this user may not read (docs/decisions/0053-the-first-origin-is-this-machine.md). What is said here are
hints. The fetcher compares what it copies with the leaf's CID; where that differs, the leaf is fetched.

The index has no table of leaves, which would cost each sealing: the leaves of all files that have several are looked
through, once for all loads that begin meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from ipfsfs.errors import FormatError, StoreError
from ipfsfs.store.index import Index
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.table import LeafTable, Source, pack

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Wanted:
    """The leaves of one load, and what was found of them. `leaves`: by length and sha2-256, their indexes."""

    root: bytes
    leaves: dict[tuple[int, bytes], list[int]]
    found: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By index of a leaf, the inode of a file that holds it, and where in that file."""
    done: trio.Event = field(default_factory=trio.Event)

    @classmethod
    def of(cls, root: bytes, table: LeafTable) -> _Wanted:
        """All leaves of a table that are raw blocks: a sealed file has no others."""
        leaves: dict[tuple[int, bytes], list[int]] = {}
        for index, leaf in enumerate(table):
            if cid.codec(leaf.cid) == cid.RAW:
                leaves.setdefault((leaf.length, cid.digest(leaf.cid)), []).append(index)
        return cls(root, leaves)

    def enter(self, leaf: tuple[int, bytes], ino: int, offset: int) -> None:
        """A file holds a leaf."""
        for index in self.leaves.pop(leaf, ()):
            self.found[index] = ino, offset


@dataclass(slots=True)
class LocalLeaves:
    """Finds leaves in the sealed files of a view."""

    seals: Seals
    _waiting: list[_Wanted] = field(default_factory=list)
    _looking: trio.Lock = field(default_factory=trio.Lock)

    async def table(self, root: bytes, size: int) -> LeafTable | None:
        """The leaves of a root, where a sealed file has it."""
        index = self.seals.index
        if index is None:
            return None
        try:
            return await trio.to_thread.run_sync(_table, index, root, size)
        except (StoreError, FormatError) as error:
            log.info("not looked for in the index: %s", error)
            return None

    async def sources(self, root: bytes, table: LeafTable) -> dict[int, Source]:
        """By index of a leaf, where its bytes are to be had here; without those that no sealed file holds."""
        wanted = _Wanted.of(root, table)
        self._waiting.append(wanted)
        async with self._looking:
            if not wanted.done.is_set():
                await self._look()
        return await self._resolved(wanted)

    async def _look(self) -> None:
        """Look for what all who wait want."""
        waiting, self._waiting = self._waiting, []
        index = self.seals.index
        try:
            if index is not None:
                await trio.to_thread.run_sync(_look, index, waiting)
        except StoreError as error:
            log.info("not looked for in the index: %s", error)
        finally:
            for wanted in waiting:
                wanted.done.set()

    async def _resolved(self, wanted: _Wanted) -> dict[int, Source]:
        index = self.seals.index
        if index is None or not wanted.found:
            return {}
        inos = {ino for ino, _ in wanted.found.values()}
        try:
            paths = await trio.to_thread.run_sync(_paths, index, inos)
        except StoreError as error:
            log.info("not looked for in the index: %s", error)
            return {}
        return {at: Source(paths[ino], ino, offset) for at, (ino, offset) in wanted.found.items() if ino in paths}


def _table(index: Index, root: bytes, size: int) -> LeafTable | None:
    for ino in index.files_with_root(root):
        seal = index.get(ino)
        if seal is not None and seal.root == root and seal.size == size:
            records = (pack(at, length, cid.raw_cid(digest)) for at, length, digest in _placed(seal.leaves))
            return LeafTable(b"".join(records))
    return None


def _look(index: Index, waiting: list[_Wanted]) -> None:
    """Enter what is found into each of `waiting`: first files of the very same root, then any file."""
    for wanted in waiting:
        for ino in index.files_with_root(wanted.root):
            seal = index.get(ino)
            if seal is not None:
                _enter(wanted, ino, seal.leaves)
    for wanted in waiting:
        roots = {cid.raw_cid(digest): (length, digest) for length, digest in wanted.leaves}
        for root, ino in index.first_with_roots(list(roots)).items():
            wanted.enter(roots[root], ino, 0)
    if any(wanted.leaves for wanted in waiting):
        for ino, leaves in index.files_of_many_leaves():
            held = set(unpack_leaves(leaves))
            for wanted in waiting:
                if not wanted.leaves.keys().isdisjoint(held):
                    _enter(wanted, ino, leaves)


def _enter(wanted: _Wanted, ino: int, leaves: bytes) -> None:
    for at, length, digest in _placed(leaves):
        wanted.enter((length, digest), ino, at)


def _placed(leaves: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Offset, length and sha2-256 of each of the packed leaves of a file."""
    at = 0
    for length, digest in unpack_leaves(leaves):
        yield at, length, digest
        at += length


def _paths(index: Index, inos: set[int]) -> dict[int, bytes]:
    return {ino: path for ino in inos if (path := index.path_of(ino)) is not None}
