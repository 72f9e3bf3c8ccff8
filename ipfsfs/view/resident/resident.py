"""Resident files: opening them, and setting their attributes."""

from __future__ import annotations

import os
import stat as stat_
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import trio

from ipfsfs.exchange.keeping import Keeping
from ipfsfs.plain import content, entries, held, syscalls
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.access import READING, Access
from ipfsfs.view.attributes import NOTHING, Attributes, Changes, Shown
from ipfsfs.view.backing import Caller, Content, Node, Opened, stale
from ipfsfs.view.kernel_cache import Pages
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.resident.content import ResidentContent, Serving
from ipfsfs.view.resident.xattrs import Xattrs

_LEASE_S = 0.001
"""How often an open that a lease makes wait is tried again: the sealer's lease is held for microseconds."""
_TRUNCATING = Access.parse(os.O_WRONLY | os.O_TRUNC)


@dataclass(slots=True)
class Resident:
    """What backs every resident file, and directories and links: the entry in the plain directory."""

    nodes: NodeTable
    seals: Seals
    serving: Serving
    xattrs: Xattrs
    keeping: Keeping

    is_settled: ClassVar[bool] = True
    stands_for: ClassVar[Reference | None] = None
    """As `Backing`."""

    def shown(self, st: os.stat_result) -> Attributes:
        """As `Backing`. A name in the store, which a pin gave the file, is none that users know of (H32)."""
        has_one = st.st_nlink > 1 and self.keeping.has_second_name(st.st_dev, st.st_ino)
        return Shown.of(st, nlink=st.st_nlink - 1) if has_one else st

    def attributes(self, node: Node) -> Attributes:
        """As `Backing`."""
        return self.shown(self.nodes.stat(node))

    async def get_xattr(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """As `Backing`."""
        return await self.xattrs.get(node, name, caller)

    def allows(self, node: Node, mode: int) -> bool:
        """As `Backing`."""
        with self.nodes.looked(node) as fd:
            return held.allows(fd, mode)

    async def resident(self, node: Node) -> None:
        """As `Backing`: it is one."""

    async def set_xattr(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """As `Backing`."""
        self.xattrs.set(node, name, value, caller)

    def list_xattrs(self, node: Node) -> list[bytes]:
        """As `Backing`."""
        return self.xattrs.names(node)

    def remove_xattr(self, node: Node, name: bytes) -> None:
        """As `Backing`."""
        self.xattrs.remove(node, name)

    def open_nowait(self, node: Node, access: Access, caller: Caller) -> Opened | None:
        """As `Backing`; for reading only."""
        if access.needs_writing:
            return None
        file = self.serving.files.of(node)
        fd = file.fd if file is not None and not node.withdrawn and not file.guarded else -1
        if fd < 0:
            try:
                fd = self._descriptor_nowait(node, access)
            except BlockingIOError:
                return None
        opened, keep = self._opened(node, fd, access, caller)
        return Opened(opened, keep, opened.file.backing)

    async def open(self, node: Node, access: Access, caller: Caller) -> Opened:
        """As `Backing`. A file that is to be truncated is opened first, so that an open that fails changes nothing."""
        if access.truncates and not access.writes:
            truncated = await self.open(node, _TRUNCATING, caller)
            truncated.content.close()
            opened = await self.open(node, READING, caller)
            return opened._replace(keep=False)
        fd = await self._descriptor(node, access)
        if access.writes:
            await self._before_writer(node, fd)
        entered, keep = self._opened(node, fd, access, caller)
        try:
            if access.writes and entered.file.backing:
                await self._before_unseen_writes(entered)
            if access.truncates:
                await self._truncate(entered, 0)
        except BaseException:
            entered.close()
            raise
        if access.truncates:
            node.cache.opened(content.stat(entered.fd), caller.pid)
            keep = False
        return Opened(entered, keep, entered.file.backing)

    def made(self, node: Node, fd: int, access: Access, caller: Caller) -> Content:
        """The content of a file that was just made and opened as `fd`."""
        opened = self._enter(node, fd, access, caller)
        if access.writes:
            opened.file.written = True
        return opened

    async def _before_writer(self, node: Node, fd: int) -> None:
        try:
            await self.serving.breaker.before_writer(content.stat(fd))
        except BaseException:
            os.close(fd)
            raise

    async def _before_unseen_writes(self, opened: ResidentContent) -> None:
        """A file is about to be written past the daemon: what a first write would break is broken now."""
        file = opened.file
        await self.serving.breaker.before_change(file, opened.opener.pid)
        if file.before is None:
            file.before = content.stat(opened.fd)
        file.written = True
        self.serving.upkeep.written_unseen(file.node)

    def _opened(self, node: Node, fd: int, access: Access, caller: Caller) -> tuple[ResidentContent, bool]:
        st = content.stat(fd)
        file = self.serving.files.of(node)
        if access.writes and file is not None and file.backing:
            node.cache.expect_unseen_writes()
        pages = Pages.DROP if access.truncates else node.cache.opened(st, caller.pid)
        if pages is Pages.LOOK_AGAIN:
            if file is None or fd != file.fd:
                os.close(fd)
            if file is not None:
                file.guarded = True
            raise stale()
        opened = self._enter(node, fd, access, caller)
        fd = opened.fd  # the other is closed where the file has one that all readers share
        if access.writes:
            self.serving.upkeep.opened_for_writing(node, st.st_size)
        else:
            content.count_as_access(fd, st)
            self.serving.upkeep.opened_for_reading()
        self._check_against_seal(opened.file, fd, st)
        if not access.writes:
            try:
                self.serving.native.opened(opened.file, fd, st)
            except OSError:
                opened.close()
                raise
        return opened, pages is Pages.KEEP

    def _enter(self, node: Node, fd: int, access: Access, caller: Caller) -> ResidentContent:
        file = self.serving.files.shared(node)
        if access.writes:
            file.add_writer(fd)
        else:
            fd = file.add_reader(fd)
        return ResidentContent(file, fd, access.writes, caller, self.serving)

    def _check_against_seal(self, file: OpenFile, fd: int, st: os.stat_result) -> None:
        """Have reads of a file that was just opened checked against its seal, if it has one that still holds."""
        if file.seal is not None or file.written or file.breaking is not None:
            return
        seal = self.seals.get(st.st_ino) if st.st_dev == self.seals.dev else None
        if seal is not None and seal.identity.agrees(st) and seal.identity.born_ns == syscalls.birth_time_ns(fd):
            file.attach(seal)
        elif not file.writers:
            self.serving.upkeep.lacks_seal(file.node, st)  # made or changed beneath the view: nothing else would tell

    async def _truncate(self, opened: ResidentContent, size: int) -> None:
        file = opened.file
        await self.serving.breaker.before_truncation(file, opened.fd, opened.opener.pid)
        file.written = True
        content.truncate(opened.fd, size)
        self._truncated(file, content.stat(opened.fd), size, opened.opener.pid)

    def _truncated(self, file: OpenFile, after: os.stat_result, size: int, pid: int) -> None:
        file.node.cache.changed(after)
        self.serving.upkeep.truncated(file.node, size)
        self.serving.breaker.changed(file, pid)

    async def change(self, node: Node, changes: Changes, content: Content | None, caller: Caller) -> Attributes:
        """As `Backing`."""
        if changes.size is not None:
            await self._resize(node, changes.size, content, caller)
        with self.nodes.reached(node) as fd:
            before = os.fstat(fd)
            _set(fd, changes)
            after = os.fstat(fd)
        self.seals.restamp(before, after)
        node.cache.carried(before, after)
        node.cache.told(after)
        file = self.serving.files.of(node)
        if file is not None:
            file.carry_over(before, after)
            if (after.st_mode, after.st_uid, after.st_gid) != (before.st_mode, before.st_uid, before.st_gid):
                file.guarded = True
            if changes.mtime_ns is not None and file.writers:
                file.written = True  # sealed anew when the last of them has gone
        if stat_.S_ISREG(after.st_mode) and (file is None or not file.writers):
            self.serving.upkeep.changed(node)
        return self.shown(after)

    async def _resize(self, node: Node, size: int, opened: Content | None, caller: Caller) -> None:
        """Truncate a file, by a handle or by name. Raises OSError; a file that was not cut keeps its seal."""
        if isinstance(opened, ResidentContent):
            await self._truncate(opened, size)
            return
        async with self._open_to_truncate(node) as fd:
            with self.serving.files.shared_for_now(node) as file:
                await self.serving.breaker.before_truncation(file, fd, caller.pid)
                try:
                    held.truncate(fd, size)  # as truncate(2), which XFS and Btrfs tell from ftruncate(2)
                except OSError:
                    if not file.writers:  # else one of them may be about to write: the last one's going decides
                        self.serving.breaker.unchanged(file)
                    self.serving.upkeep.changed(node)
                    raise
                if file.writers:
                    file.written = True
                self._truncated(file, content.stat(fd), size, caller.pid)

    @asynccontextmanager
    async def _open_to_truncate(self, node: Node) -> AsyncIterator[int]:
        """A descriptor of a file that is open for writing: where it cannot be had, nothing was changed yet."""
        with self.nodes.reached(node) as fd:
            own = await self._reopened(fd)
        try:
            yield own
        finally:
            os.close(own)

    async def _reopened(self, fd: int) -> int:
        while True:
            try:
                return held.reopen(fd, os.O_WRONLY)
            except BlockingIOError:
                await trio.sleep(_LEASE_S)

    async def _descriptor(self, node: Node, access: Access) -> int:
        """A descriptor of a node's own file. Raises OSError; ESTALE where its name is another file's.

        A lease on the file, the sealer's for an instant or another program's, makes the open wait as on plain disk.
        """
        while True:
            try:
                return self._descriptor_nowait(node, access)
            except BlockingIOError:
                await trio.sleep(_LEASE_S)

    def _descriptor_nowait(self, node: Node, access: Access) -> int:
        """The same without waiting. Raises BlockingIOError where that would be needed."""
        if node.withdrawn:
            raise stale()
        if node.held >= 0:
            with self.nodes.looked(node) as fd:
                return self.nodes.for_worker(held.reopen(fd, access.flags))
        if node.parent is None:
            raise stale()
        try:
            fd = entries.open_file(self.nodes.directory_fd(node.parent), node.name, access.flags)
        except FileNotFoundError:
            raise stale() from None
        st = os.fstat(fd)
        if st.st_ino != node.ino or st.st_dev != node.dev:
            os.close(fd)
            raise stale()
        return self.nodes.for_worker(fd)


def _set(fd: int, changes: Changes) -> None:
    """Set attributes but for the size. Raises OSError."""
    if changes == NOTHING:
        held.chown(fd, -1, -1)  # what chown(2) to nobody else is: the kernel asks for no attribute then
    if changes.uid is not None or changes.gid is not None:
        held.chown(fd, -1 if changes.uid is None else changes.uid, -1 if changes.gid is None else changes.gid)
    if changes.mode is not None:
        held.chmod(fd, stat_.S_IMODE(changes.mode))
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        now = os.fstat(fd)
        held.set_times(
            fd,
            now.st_atime_ns if changes.atime_ns is None else changes.atime_ns,
            now.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
        )
