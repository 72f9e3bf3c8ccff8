"""Taking files that broke a promise from their names, and keeping what a promised blob was before it is overwritten.

No file is removed unless a copy of it is in quarantine, on disk. What the quarantine does not take stays where it is,
under a hidden name that `status` lists.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from ipfsfs.caches.beside import withdrawn_name
from ipfsfs.errors import IntegrityError
from ipfsfs.plain import entries, held, moving, syscalls
from ipfsfs.printed import command
from ipfsfs.store import quarantine
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.findings import Finding
from ipfsfs.store.tables.quarantined import Quarantined
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles

log = logging.getLogger(__name__)

_BLOCK = 512
"""The unit of `st_blocks`."""


@dataclass(slots=True, frozen=True)
class BrokenPromise:
    """A file that has another content than a name promises: that name as a path from the plain root, both sha256, and
    the file's inode."""

    path: bytes
    promised: bytes
    actual: bytes
    ino: int

    def as_error(self, where: str) -> IntegrityError:
        """What to tell who gave the file that name. `where`: what became of the file."""
        return IntegrityError(
            f"{os.fsdecode(self.path)}: the download has sha256 {self.actual.hex()}, which is not what its name "
            "promises",
            hint=f"The file was {where} (see `{command('status')}`). Download it again.",
        )


@dataclass(slots=True, frozen=True)
class Name:
    """A name of a file: an own descriptor of its directory, and its path from the plain root."""

    dir_fd: int
    path: bytes

    @property
    def last(self) -> bytes:
        """The name in its directory."""
        return self.path.rpartition(b"/")[2]

    def beside(self, name: bytes) -> bytes:
        """The path of another name in the same directory."""
        directory, slash, _ = self.path.rpartition(b"/")
        return directory + slash + name

    def is_of(self, ino: int) -> bool:
        """Whether it still stands for a file. Raises OSError."""
        try:
            return entries.stat(self.dir_fd, self.last).st_ino == ino
        except FileNotFoundError:
            return False


@contextmanager
def name_at(root_fd: int, path: bytes) -> Iterator[Name]:
    """A name by its path from the plain root, which crosses no symlink. Raises OSError."""
    dir_fd = syscalls.open_beneath(root_fd, path.rpartition(b"/")[0], os.O_PATH | os.O_DIRECTORY)
    try:
        yield Name(dir_fd, path)
    finally:
        os.close(dir_fd)


@dataclass(slots=True)
class Quarantining:
    """Moves and copies files to the quarantine, and keeps nodes, seals and ledger in step."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    quarantine: Quarantine

    async def withdraw(self, name: Name, broken: BrokenPromise) -> str:
        """Take a file that broke a promise from one of its names. Returns, in words, what became of it; empty where
        the name stands for another file by now. Raises OSError where the file cannot be taken from there."""
        fd = entries.look(name.dir_fd, name.last)
        try:
            before = os.fstat(fd)
            if before.st_ino != broken.ino:
                return ""
            now = time.time_ns()
            stored_as = quarantine.name_for(broken.path, now)
            item = Quarantined(
                broken.path, broken.promised, broken.actual, stored_as, now, "not what its name promises"
            )
            try:
                taken = await self._put_away(name, fd, before, item)
                where = f"moved to quarantine as {stored_as}"
            except OSError as error:
                hidden = name.beside(withdrawn_name(name.last, secrets.token_hex(4)))
                taken = await self._set_aside(name, hidden, broken, error)
                where = f"renamed to {os.fsdecode(hidden)}, since it could not be put into quarantine"
            if not taken:
                return ""
            self.note_unnamed(name, fd, before)
        finally:
            os.close(fd)
        log.error(
            "%s: sha256 is %s, not what the name promises: %s. Download it again.",
            os.fsdecode(broken.path), broken.actual.hex(), where,
        )  # fmt: skip
        await self.seals.record(lambda ledger: ledger.quarantined.add(item))
        return where

    async def _put_away(self, name: Name, fd: int, st: os.stat_result, item: Quarantined) -> bool:
        """Move a file to the quarantine, or copy it there and remove it; whether the name still stood for it.

        Raises OSError, and leaves the file where it is, where neither can be done.
        """
        directory = self.quarantine
        await trio.to_thread.run_sync(directory.make_room, st.st_blocks * _BLOCK, st.st_uid)
        quarantine.write_note(directory.fd, item)
        try:
            if name.is_of(st.st_ino):
                moving.move(name.dir_fd, name.last, directory.fd, os.fsencode(item.stored_as))
                return True
        except OSError as error:
            quarantine.clear_away(directory.fd, item.stored_as)
            if error.errno not in (errno.EXDEV, errno.EDQUOT, errno.ENOSPC, errno.ENOSYS):
                raise
            await self.copy_in(fd, item)
            if name.is_of(st.st_ino):
                entries.unlink(name.dir_fd, name.last)
                return True
        quarantine.clear_away(directory.fd, item.stored_as)
        return False

    async def _set_aside(self, name: Name, hidden: bytes, broken: BrokenPromise, why: OSError) -> bool:
        """Rename a file to a hidden name in its directory; whether the name still stood for it. Raises OSError."""
        detail = (
            f"it was to be {os.fsdecode(broken.path)}, and has sha256 {broken.actual.hex()}; "
            f"it could not be put into quarantine: {why.strerror}"
        )
        finding = Finding("withdrawn", hidden, broken.ino, detail, "", time.time_ns())
        await self.seals.record(lambda ledger: ledger.findings.add(finding))
        try:
            if name.is_of(broken.ino):
                moving.move(name.dir_fd, name.last, name.dir_fd, hidden.rpartition(b"/")[2])
                return True
        except OSError:
            await self.seals.mended(hidden, "withdrawn")
            raise
        await self.seals.mended(hidden, "withdrawn")
        return False

    async def copy_in(self, fd: int, item: Quarantined) -> None:
        """Put a copy of the file that `fd` holds into the quarantine, however long that takes. Raises OSError."""
        await self._copy(fd, item, moving.copy)

    def note_unnamed(self, name: Name, fd: int, before: os.stat_result) -> None:
        """The file that `fd` holds has lost a name to the quarantine or for a hidden one."""
        st = os.fstat(fd)
        node = self.nodes.find(st.st_dev, st.st_ino)
        if node is not None and node.held < 0 and self.nodes.path(node) == name.path:
            self.nodes.unnamed(node, os.dup(fd))
            # The kernel remembers the old name for a moment; neither the client's copy nor its next download, which
            # truncates, must find the file by it. So under another name the file is another node.
            node.withdrawn = True
            if before.st_nlink == 1 or self.files.of(node) is None:
                self.nodes.detach(node)
        if before.st_nlink > 1:  # it goes on by other names, which may be right
            self.seals.restamp(before, st)
            if node is not None:
                node.cache.carried(before, st)
                if (file := self.files.of(node)) is not None:
                    file.carry_over(before, st)
        else:
            self.seals.lapse(st.st_ino)

    def remove_link(self, path: bytes, ino: int) -> None:
        """Remove the symlink at a promised name to a file that was withdrawn, if it is still there. Raises OSError."""
        with name_at(self.nodes.plain.fd, path) as name:
            fd = entries.look(name.dir_fd, name.last)
            try:
                st = os.fstat(fd)
                if st.st_ino == ino:
                    entries.unlink(name.dir_fd, name.last)
                    node = self.nodes.find(st.st_dev, st.st_ino)
                    if node is not None and node.held < 0 and self.nodes.path(node) == path:
                        self.nodes.unnamed(node, os.dup(fd))
            finally:
                os.close(fd)

    async def keep(self, node: Node, seal: Seal, why: str) -> str:
        """Keep the content of a file that kept its promise and is about to change; returns its name in the quarantine.

        Raises OSError where that would take long, or there is no room for it.
        """
        path, now = self.nodes.path(node), time.time_ns()
        item = Quarantined(path, seal.sha256, seal.sha256, quarantine.name_for(path, now), now, why)
        with self.nodes.looked(node) as fd:
            await self._copy(fd, item, moving.copy_at_once)
        return item.stored_as

    def drop(self, stored_as: str) -> None:
        """Remove what was kept for nothing, as far as that can be done."""
        quarantine.clear_away(self.quarantine.fd, stored_as)

    async def _copy(self, fd: int, item: Quarantined, copy: Callable[[int, int], None]) -> None:
        source = held.reopen(fd, os.O_RDONLY)
        try:
            await trio.to_thread.run_sync(_copy_in, self.quarantine, item, source, copy)
        finally:
            os.close(source)


def _copy_in(directory: Quarantine, item: Quarantined, source: int, copy: Callable[[int, int], None]) -> None:
    with directory.incoming(item, os.fstat(source)) as target:
        copy(source, target)
