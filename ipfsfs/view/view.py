"""The view: the parts of this room put together, and the opening and closing of files that touches them all."""

from __future__ import annotations

import logging
import os
import stat as stat_
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.hubcache.classify import Place
from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.ownership import Ownership
from ipfsfs.sealer.client import Sealer
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Finding, Ledger
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.attributes import Attributes
from ipfsfs.view.handles import Caller, Handles, OpenFile, count_as_access, stamp
from ipfsfs.view.listings import Listings
from ipfsfs.view.names import Entry, Names
from ipfsfs.view.nodes import Node, NodeTable, stale
from ipfsfs.view.promises import Promises
from ipfsfs.view.reading import Reader, attach
from ipfsfs.view.sealing import Sealing
from ipfsfs.view.seals import Seals
from ipfsfs.view.trees import Trees
from ipfsfs.view.writing import Writer

log = logging.getLogger(__name__)

_ROOM_S: Final = 1.0
"""How long a removed file may keep its blocks: until the kernel has forgotten it, and the sealer let go of it."""


@dataclass(slots=True, frozen=True)
class Foundation:
    """What a view stands on, opened by whoever starts it."""

    plain: PlainDirectory
    place: Place
    index: Index | None
    ledger: Ledger
    quarantine_fd: int
    sealer: Sealer
    chunker: Chunker
    boot: str
    ownership: Ownership
    descriptor_limit: int
    degraded: str


@dataclass(slots=True)
class View:
    """The mounted tree. Its parts each serve one kind of request; opening and closing is served here."""

    nodes: NodeTable
    handles: Handles
    seals: Seals
    promises: Promises
    sealing: Sealing
    reader: Reader
    writer: Writer
    names: Names
    listings: Listings
    attributes: Attributes
    trees: Trees
    plain: PlainDirectory
    _start_soon: Callable[..., None]
    _fsync_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(8))
    _rotten: set[tuple[bytes, int, int]] = field(default_factory=set)

    @classmethod
    def build(cls, on: Foundation, start_soon: Callable[..., None]) -> View:
        """Put a view together. `start_soon(function, *arguments)` runs what goes on behind a request's back."""

        def start_behind(function: Callable[..., Awaitable[object]], *arguments: object) -> None:
            start_soon(_undisturbed, function, *arguments)

        nodes = NodeTable(on.plain, on.place, on.descriptor_limit)
        handles = Handles(nodes)
        seals = Seals(on.plain.dev, on.index, on.ledger, on.degraded)
        promises = Promises(nodes, seals, on.sealer, on.quarantine_fd, start_behind)
        sealing = Sealing(nodes, seals, promises, on.sealer, on.chunker, on.boot)

        def found_changed(file: OpenFile) -> None:
            sealing.changed(file.node)

        def directory_moved(node: Node) -> None:
            start_behind(partial(sealing.seal_tree, nodes.path(node), background=False))

        def file_gone(path: bytes) -> None:
            start_behind(seals.mended, path)

        def room_to_come() -> bool:
            return time.monotonic() - names.last_removal < _ROOM_S

        writer = Writer(seals, on.ownership, promises.written, promises.overwritten, room_to_come)
        reader = Reader(nodes, seals, on.boot, found_changed, lambda file, seal, unit: view.rotten(file, seal, unit))
        names = Names(nodes, handles, seals, promises, on.ownership, sealing.changed, directory_moved, file_gone)
        trees = Trees(on.plain, on.place, seals, sealing.secret)
        attributes = Attributes(nodes, handles, seals, promises, sealing, writer, trees)
        view = cls(
            nodes=nodes,
            handles=handles,
            seals=seals,
            promises=promises,
            sealing=sealing,
            reader=reader,
            writer=writer,
            names=names,
            listings=Listings(nodes, names),
            attributes=attributes,
            trees=trees,
            plain=on.plain,
            _start_soon=start_behind,
        )
        return view

    def open_now(self, node: Node, flags: int, caller: Caller) -> tuple[int, bool] | None:
        """Open a file for reading as `open` does; None where that is not all, or could wait."""
        if flags & (os.O_ACCMODE | os.O_TRUNC):
            return None
        file = node.file
        fd = file.fd if file is not None and not node.withdrawn and not file.guarded else -1
        if fd < 0:
            try:
                fd = self.handles.descriptor_now(node, flags)
            except BlockingIOError:
                return None
        return self._opened(node, fd, flags, caller)

    async def open(self, node: Node, flags: int, caller: Caller) -> tuple[int, bool]:
        """Open a file. Returns the handle's number, and whether what the kernel has cached of it is still right.

        Raises OSError; ESTALE where the file is not what the kernel was told it is, so that it looks again (H22).
        """
        if flags & os.O_TRUNC:
            with self.handles.shared_for_now(node) as file:
                await self.writer.unseal_to_truncate(file, self.nodes.stat(node), caller.pid, below=0)
            self.promises.truncated(node.ino, 0)
        return self._opened(node, await self.handles.descriptor(node, flags), flags, caller)

    def _opened(self, node: Node, fd: int, flags: int, caller: Caller) -> tuple[int, bool]:
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        truncated = flags & os.O_TRUNC
        st = os.fstat(fd)
        mark = stamp(st)
        refused = node.refused or set()
        if not truncated and node.told not in (0, mark) and caller.pid not in refused:
            node.refused = refused | {caller.pid}
            node.renew = True
            if node.file is None or fd != node.file.fd:
                os.close(fd)
            if node.file is not None:
                node.file.guarded = True
            raise stale()
        number = self.handles.add(node, fd, flags, caller)
        file = self.handles.file(number).file
        if writable:
            if node.parent is not None:
                self.promises.reopened(node, self.nodes.place(node.parent), st.st_size)
            if truncated:
                file.written = True
        elif truncated:
            self.sealing.changed(node)
        else:
            count_as_access(fd, st)
            self.sealing.make_way()
        if file.seal is None and not file.written and file.breaking is None:
            seal = self.seals.get(st.st_ino) if st.st_dev == self.seals.dev else None
            if seal is not None and seal.agrees(st) and seal.born_ns == syscalls.birth_time_ns(fd):
                attach(file, seal)
            elif seal is not None and not writable:
                self.sealing.changed(node)  # beneath the view: nobody else would tell
        keep = not (node.renew or truncated)
        if truncated:
            node.told = mark
        node.renew = False
        if refused:
            node.refused = refused - {caller.pid} or None
        return number, keep

    async def create(self, parent: Node, name: bytes, flags: int, mode: int, caller: Caller) -> tuple[Entry, int]:
        """Make and open a file; one that somebody made beneath a moment ago is opened, unless O_EXCL forbids that.

        Raises OSError.
        """
        try:
            entry, fd = self.names.create(parent, name, flags, mode, caller)
        except FileExistsError:
            found = self.names.lookup(parent, name)
            if flags & os.O_EXCL or found is None or not stat_.S_ISREG(found.st.st_mode):
                raise
            number, _ = await self.open(found.node, flags, caller)
            return found._replace(st=self.nodes.stat(found.node)), number
        number = self.handles.add(entry.node, fd, flags, caller)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self.handles.file(number).file.written = True
        return entry, number

    def release(self, number: int) -> None:
        """Close a file; the last writer's going makes it due for sealing."""
        file = self.handles.release(number)
        if file is not None and file.written:
            file.written = False
            self.sealing.changed(file.node)

    async def fsync(self, number: int, *, data_only: bool) -> None:
        """Have a file's content on disk. Raises OSError."""
        fd = self.handles.file(number).fd
        await trio.to_thread.run_sync(os.fdatasync if data_only else os.fsync, fd, limiter=self._fsync_limiter)

    async def fsync_directory(self, number: int) -> None:
        """Have a directory's names on disk. Raises OSError."""
        await trio.to_thread.run_sync(os.fsync, self.listings.descriptor(number), limiter=self._fsync_limiter)

    async def give_up_seals_of_writers(self) -> None:
        """Before the store is let go of while files are open: what may be written is vouched for no more (H17)."""
        for node in set(self.handles.open_for_writing()):
            seal = self.seals.get(node.ino) if node.dev == self.seals.dev else None
            if seal is not None:
                await self.seals.unseal(seal, durably=True)

    def rotten(self, file: OpenFile, seal: Seal, unit: int) -> None:
        """A unit of a sealed file is not what was written there, and nobody has written since: say so once."""
        path = self.nodes.path(file.node)
        if (path, seal.seal_id, unit) in self._rotten:
            return
        self._rotten.add((path, seal.seal_id, unit))
        shown = os.fsdecode(path)
        log.error(
            "%s: rot: bytes from %d on are not what was written there; reads of them fail. "
            "Remove the file and download it again: rm %r",
            shown, unit * UNIT, shown,
        )  # fmt: skip
        finding = Finding("rot", path, seal.ino, f"bytes from {unit * UNIT} on", "", time.time_ns())
        self._start_soon(self.seals.record, lambda ledger: ledger.add_finding(finding))

    async def run(self) -> None:
        """What goes on behind the requests, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.seals.run)
            nursery.start_soon(_undisturbed, self.sealing.run)
            nursery.start_soon(_undisturbed, self.sealing.seal_what_was_there)

    def close(self) -> None:
        """Close every descriptor."""
        self.nodes.close()


async def _undisturbed(function: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Run what goes on behind the requests: whatever comes of it, the view goes on."""
    try:
        await function(*arguments)
    except IpfsfsError as error:
        log.warning("%s", error)
    except Exception:  # a bug there must not end the view
        log.exception("a bug behind the requests")
