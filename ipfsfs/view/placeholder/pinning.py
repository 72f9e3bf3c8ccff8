"""Pinning: the content of a root is had here, and kept in the store, until the pin is removed.

What a pin is to hold is written to the ledger first. Then each file is taken into the store: from the plain directory
where it is sealed there, else by way of an extent, from origins. Only when all of it is on disk the pin counts as
complete; pinning again goes on with what is missing. While files are fetched, which may take hours, no lock is held
but those of these files: pins are made, listed and removed meanwhile, and the store is collected.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from ipfsfs.caches.place import Place
from ipfsfs.errors import IpfsfsError, StoreError
from ipfsfs.exchange.collect import Removed, collect_kept
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.exchange.kept_files import comparing, fault
from ipfsfs.exchange.loads import Loads
from ipfsfs.exchange.locks import Locks
from ipfsfs.exchange.pins import Progress, remove_pin
from ipfsfs.exchange.trees import SealedLeaves, Trees
from ipfsfs.origins.dag import side_by_side
from ipfsfs.plain import quiet, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import kept
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.pins import FILES_MAX, Pin, PinnedFile
from ipfsfs.unixfs import car, cid
from ipfsfs.unixfs.file import build
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.placeholder.hydrating import Hydrating
from ipfsfs.view.upkeep.sealing import Sealing
from ipfsfs.workers.fetcher.table import table_of
from ipfsfs.workers.sealer.client import Sealer

log = logging.getLogger(__name__)

_AT_ONCE: Final = 4
"""Files that are taken into the store side by side."""
_TRIES: Final = 3
"""How often a file is fetched whose bytes rotted before they were kept."""
_NAMED_MOST: Final = 8


@dataclass(slots=True)
class _Tree:
    """What the CID of a path tells of the blocks in it (fills `ipfsfs.exchange.trees.Blocks`)."""

    nodes: dict[bytes, bytes] = field(default_factory=dict)
    files: list[bytes] = field(default_factory=list)
    placeholders: dict[PinnedFile, bytes] = field(default_factory=dict)
    """Files that are not here, and where they are to be."""

    def name(self, path: bytes) -> None:
        """As `Blocks`."""

    def node(self, node_cid: bytes, block: bytes) -> None:
        """As `Blocks`."""
        self.nodes[node_cid] = block

    def file(self, path: bytes, leaves: list[tuple[int, bytes]]) -> None:
        """As `Blocks`."""
        if leaves:
            self.files.append(path)

    def placeholder(self, path: bytes, stands_for: Reference) -> None:
        """As `Blocks`."""
        self.placeholders[PinnedFile(stands_for.root, stands_for.size)] = path


@dataclass(slots=True, frozen=True)
class Begun:
    """A pin that was noted, and is to be had: its root, the files it holds, and the paths, from the plain root, of
    those that are sealed in the view (`paths`), and of those that are not here and have one (`elsewhere`)."""

    root: bytes
    files: list[PinnedFile]
    paths: dict[PinnedFile, bytes] = field(default_factory=dict)
    elsewhere: dict[PinnedFile, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Pinning:
    """Adds and removes pins."""

    plain: PlainDirectory
    place: Place
    seals: Seals
    sealing: Sealing
    loads: Loads
    hydrating: Hydrating
    keeping: Keeping
    _turn: trio.Lock = field(default_factory=trio.Lock)
    """Held while it is decided what is kept: a pin is noted, called complete, removed, or strays are collected."""
    _roots: Locks[bytes] = field(default_factory=Locks)
    """Held while the nodes of a root are gathered."""
    _gathering: set[bytes] = field(default_factory=set)
    """Roots whose nodes are gathered before it is noted that they are pinned."""
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def begin_path(self, path: bytes) -> Begun:
        """Note that what is at a path from the plain root is pinned.

        Raises OSError, UsageError for what never has a CID, and IpfsfsError where something of it cannot be had or is
        being written.
        """
        tree = _Tree()
        await self.sealing.seal_tree(path, background=False)
        found = await Trees(self.plain, self.place, SealedLeaves(self.seals), blocks=tree).cid(path)
        found.refuse_what_never_has_one(Path(os.fsdecode(path)))
        if found.unsealed:
            named = "\n".join(f"  {os.fsdecode(one)}" for one in found.unsealed[:_NAMED_MOST])
            raise IpfsfsError(f"files are being written, and cannot be pinned now:\n{named}", hint="Try again later.")
        paths: dict[PinnedFile, bytes] = {}
        for one in tree.files:
            paths[self._sealed(one)[0]] = one
            await trio.lowlevel.checkpoint()
        elsewhere = tree.placeholders
        files = [*paths, *(file for file in elsewhere if file not in paths)]
        if len(files) > FILES_MAX:
            raise IpfsfsError(f"that is more than {FILES_MAX:,} files", hint="Pin parts of it.")
        await self._record(Pin(found.root, path, "pinning", time.time_ns()), files)
        if tree.nodes:
            pieces = [car.header([found.root]), *(car.frame(*node) for node in tree.nodes.items())]
            async with self._roots.held(found.root):
                await trio.to_thread.run_sync(self.keeping.kept.keep_nodes, found.root, pieces, limiter=self._limiter)
        for file, at in elsewhere.items():
            async with self._roots.held(file.root):
                if not self.keeping.kept.has_nodes(file.root):
                    await self._have_nodes(file, at)
        return Begun(found.root, files, paths, elsewhere)

    async def begin_cid(self, root: bytes, report: Callable[[Progress], None]) -> Begun:
        """Note that what a CID names is pinned, wherever it is; its nodes are read. Until this returns it is not known
        which blocks of the store it needs: none must be removed meanwhile.

        Raises IpfsfsError where a node of it cannot be had, with its CID.
        """
        async with self._roots.held(root):
            self._gathering.add(root)
            try:
                files = await self.loads.fetcher.pinned(root, lambda count: report(Progress(files=count)))
                await self._record(Pin(root, b"", "pinning", time.time_ns()), files)
            finally:
                self._gathering.discard(root)
        return Begun(root, files)

    async def remove(self, root: bytes) -> int | None:
        """Remove a pin; a command that is having it is told so. Returns how many bytes the disk gets back at once; None
        where there was no such pin."""
        async with self._turn:
            return await remove_pin(self.keeping, root)

    async def collect(self, *, dry_run: bool) -> Removed:
        """Remove what no pin holds of what is kept; with `dry_run`, say what would be. Raises StoreError, OSError."""
        async with self._turn:
            return await collect_kept(self.keeping, self._gathering, dry_run=dry_run)

    def close(self) -> None:
        """Close the directory of what is kept."""
        self.keeping.kept.close()

    def _sealed(self, path: bytes) -> tuple[PinnedFile, Seal]:
        fd = syscalls.open_beneath(self.plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
        try:
            seal = self.seals.agreeing(os.fstat(fd))
        finally:
            os.close(fd)
        if seal is None:
            raise _changed(path)
        return PinnedFile(seal.root, seal.size), seal

    async def _record(self, pin: Pin, files: list[PinnedFile]) -> None:
        async with self._turn:
            await trio.to_thread.run_sync(
                self.keeping.pins.add, pin, [file for file in files if file.size], limiter=self._limiter
            )

    async def _have_nodes(self, file: PinnedFile, path: bytes) -> None:
        """Keep the nodes of a file that is not here: made again from its leaves, where that gives its root, for the Hub
        has no nodes; else from the origins."""
        load = await self.loads.open(Reference(*file), path)
        try:
            leaves = [(leaf.cid, leaf.length) for leaf in load.table]
            dag = await trio.to_thread.run_sync(build, leaves, limiter=self._limiter)
            if dag.cid != file.root:
                await self.loads.fetcher.pinned(file.root, _not_told)
            elif dag.nodes:
                pieces = [car.header([file.root]), *(car.frame(*node) for node in dag.nodes)]
                await trio.to_thread.run_sync(self.keeping.kept.keep_nodes, file.root, pieces, limiter=self._limiter)
        finally:
            self.loads.close(load)

    async def have(self, begun: Begun, report: Callable[[Progress], None]) -> Progress:
        """Have all that a pin holds in the store. Raises IpfsfsError where something of it cannot be had, with the CID
        of the block, and where the pin is removed meanwhile."""
        progress = Progress(len(begun.files), 0, sum(file.size for file in begun.files))
        waiting = deque(begun.files)

        async def work(sealer: Sealer) -> None:
            while waiting:
                file = waiting.popleft()
                async with self.keeping.files.held(file):
                    copied = await self._keep(begun, file, sealer)
                progress.bytes_copied += file.size if copied else 0
                progress.files_done += 1
                progress.bytes_done += file.size
                report(progress)
                await trio.lowlevel.checkpoint()

        async with comparing(self.keeping.kept) as sealer:
            await side_by_side([(work, sealer)] * _AT_ONCE)
        await self.keeping.sync()
        async with self._turn:
            if not await trio.to_thread.run_sync(self.keeping.pins.complete, begun.root, limiter=self._limiter):
                raise _unpinned(begun.root)
        return progress

    async def _keep(self, begun: Begun, file: PinnedFile, sealer: Sealer) -> bool:
        """Keep a file, if it is not kept already; returns whether that took a copy."""
        if file.size and not self.keeping.pins.holds(file.root):
            raise _unpinned(begun.root)
        if await self._is_kept(file, sealer):
            return False
        path = begun.paths.get(file)
        if path is not None:
            return await self._take(file, path)
        return await self._fetch(file, begun.elsewhere.get(file))

    async def _commit(self, file: PinnedFile, table: bytes) -> None:
        """What was taken is what is kept, if a pin holds the file still: one may have been removed meanwhile."""
        await self.keeping.keep_table(file, table)
        if not self.keeping.pins.holds(file.root):
            self.keeping.drop_new(file)
            raise _unpinned(file.root)
        self.keeping.commit(file)

    async def _is_kept(self, file: PinnedFile, sealer: Sealer) -> bool:
        """Whether all of a file is kept, by the bytes that are on the disk."""
        if not file.size or self.keeping.kept.stat(file) is None:
            return not file.size
        why = await fault(sealer, self.keeping.kept, file)
        if why:
            log.warning("%s is pinned, and is had again: %s", cid.to_text(file.root), why)
        return not why

    async def _take(self, file: PinnedFile, path: bytes) -> bool:
        """Keep a sealed file of the plain directory; returns whether that took a copy."""
        fd = await trio.to_thread.run_sync(quiet.open_regular, self.plain.fd, path, limiter=self._limiter)
        try:
            how = await self.keeping.take(file, fd)
            seal = self.seals.agreeing(os.fstat(fd))
            if seal is None or seal.root != file.root:
                self.keeping.drop_new(file)
                raise _changed(path)
            await self._commit(file, table_of(seal.iter_leaves()).records)
        except OSError as error:
            raise StoreError(f"{os.fsdecode(path)} cannot be kept: {error.strerror}") from error
        finally:
            os.close(fd)
        return how == "copied"

    async def _fetch(self, file: PinnedFile, path: bytes | None) -> bool:
        """Keep what is not (wholly) here, and is at a path if at any; returns whether that took a copy."""
        loads = self.loads
        for _ in range(_TRIES):
            load = await loads.open(Reference(*file), path)
            try:
                await loads.have_all(load)
                if load.missing(0, len(load.table) - 1):
                    continue
                how = await self.keeping.take(file, load.fd)
                finished = await loads.fetcher.finish(kept.new_path(file), load.table, load.checksums)
                if not finished.lost:
                    await self._commit(file, load.table.records)
                    return how == "copied"
                self.keeping.drop_new(file)
                for offset in finished.lost:
                    load.lost(load.table.index_at(offset))
            except OSError as error:
                raise StoreError(f"{cid.to_text(file.root)} cannot be kept: {error.strerror}") from error
            finally:
                if not self.hydrating.is_wanted(load):
                    load.is_unwanted = True
                loads.close(load)
        raise StoreError(f"{cid.to_text(file.root)} rots in the store as soon as it is here", hint="Look at its disk.")


def _changed(path: bytes) -> IpfsfsError:
    return IpfsfsError(f"{os.fsdecode(path)} was changed while it was pinned", hint="Pin it again once it rests.")


def _unpinned(root: bytes) -> IpfsfsError:
    return IpfsfsError(f"{cid.to_text(root)} was unpinned while it was pinned", hint="Pin it again to keep it.")


def _not_told(count: int) -> None:
    """Progress that nobody asked for."""
