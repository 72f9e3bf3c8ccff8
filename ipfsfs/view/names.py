"""Names: looking them up, making, removing and renaming them. Each is one system call on the plain directory."""

from __future__ import annotations

import math
import os
import stat as stat_
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.hubcache import classify
from ipfsfs.plain import entries, syscalls
from ipfsfs.plain.ownership import Ownership
from ipfsfs.view.handles import PASSED_ON, Caller, Handles, carry_over, stamp
from ipfsfs.view.nodes import Node, NodeTable
from ipfsfs.view.promises import Promises
from ipfsfs.view.seals import Seals

LONG_S: Final = 86_400.0
"""How long the kernel may trust what is immutable (H22)."""
SHORT_S: Final = 1.0
"""How long it may trust everything else, absence included: others may write beneath the view."""
_UNTOLD: Final = 1
"""`Node.told` where an open has to have the kernel look again: no stamp has this value."""
_LARGE: Final = 64 * 1024 * 1024
"""Closing the last descriptor of a removed file frees its blocks; for one larger than this that is worth a thread."""


class Entry(NamedTuple):
    """A name's file and attributes, and for how many seconds the kernel may trust them."""

    node: Node
    st: os.stat_result
    timeout_s: float


@dataclass(slots=True)
class Names:
    """The namespace of the view. `on_changed` hears of a file that may want sealing, `on_moved` of a directory,
    `on_gone` of the path of a file that stands there no longer, if something was wrong with it."""

    nodes: NodeTable
    handles: Handles
    seals: Seals
    promises: Promises
    ownership: Ownership
    on_changed: Callable[[Node], None]
    on_moved: Callable[[Node], None]
    on_gone: Callable[[bytes], None]
    last_removal: float = -math.inf
    """When a file last lost its last name (s, monotonic): until the kernel has forgotten it, it keeps its blocks."""
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4))

    def lookup(self, parent: Node, name: bytes) -> Entry | None:
        """What stands under a name; None when nothing does. Raises OSError."""
        try:
            st = entries.stat(self.nodes.directory_fd(parent), name)
        except FileNotFoundError:
            return None
        return self.found(parent, name, st)

    def found(self, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        """The entry of what was just seen under a name."""
        return self._trusted(self.nodes.adopt(parent, name, st), parent, name, st)

    def known(self, node: Node) -> Entry:
        """The entry of a node, by the name it is known by. Raises OSError; ESTALE where that reaches another file."""
        st = self.nodes.stat(node)
        if node.parent is None or node.held >= 0:
            return Entry(node, st, SHORT_S)
        return self._trusted(node, node.parent, node.name, st)

    def _trusted(self, node: Node, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        mark = stamp(st)
        if node.told not in (0, mark):
            node.renew = True
        node.told = mark
        place = self.nodes.place(parent)
        if classify.immutable(place, name, stat_.S_ISLNK(st.st_mode)) and not self.promises.open(st):
            return Entry(node, st, LONG_S)
        return Entry(node, st, SHORT_S)

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        """Make a directory. Raises OSError."""
        fd = self.nodes.directory_fd(parent)
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.mkdir(fd, name, stat_.S_IMODE(mode))
        return self.found(parent, name, entries.stat(fd, name))

    def mknod(self, parent: Node, name: bytes, mode: int, device: int, caller: Caller) -> Entry:
        """Make a regular file, fifo, socket or device. Raises OSError."""
        fd = self.nodes.directory_fd(parent)
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.mknod(fd, name, mode, device)
        return self._made(parent, name, entries.stat(fd, name))

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        """Make a symlink. Raises OSError."""
        fd = self.nodes.directory_fd(parent)
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.symlink(target, fd, name)
        return self.found(parent, name, entries.stat(fd, name))

    def create(self, parent: Node, name: bytes, flags: int, mode: int, caller: Caller) -> tuple[Entry, int]:
        """Make and open a regular file; the descriptor is the caller's. Raises OSError: EEXIST when it is there."""
        # Asked for with another descriptor: once the file is made, it is too late to refuse it one.
        os.close(self.nodes.for_worker(os.dup(self.nodes.root.held)))
        dir_fd = self.nodes.directory_fd(parent)
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            fd = entries.create(dir_fd, name, flags & PASSED_ON, stat_.S_IMODE(mode))
        return self._made(parent, name, os.fstat(fd)), fd

    def _made(self, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        entry = self.found(parent, name, st)
        self.promises.made(entry.node, self.nodes.place(parent), name)
        self.on_changed(entry.node)
        # Whatever its name is: it is being written, and may have to go when a promise proves broken.
        return entry._replace(timeout_s=SHORT_S)

    def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        """Give a file a second name. Raises OSError."""
        before = self.nodes.stat(node)
        if node.held >= 0:
            dst_fd = self.nodes.directory_fd(parent)
            os.link(b"/proc/self/fd/%d" % node.held, name, dst_dir_fd=dst_fd, follow_symlinks=True)
        else:
            assert node.parent is not None
            src_fd, dst_fd = self.nodes.two_directory_fds(node.parent, parent)
            entries.link(src_fd, node.name, dst_fd, name)
        st = entries.stat(dst_fd, name)
        self._carry_over(before, st, parent, name)
        self.promises.named(parent, name, st)
        return self.found(parent, name, st)

    def _carry_over(self, before: os.stat_result, after: os.stat_result, parent: Node, name: bytes) -> None:
        """A file has a new name: its seal goes on holding, except where the name says that it is never sealed (H36)."""
        if classify.kind(self.nodes.place(parent), name) in (classify.Kind.SECRET, classify.Kind.SCRATCH):
            if stat_.S_ISREG(after.st_mode):
                self.seals.drop(after.st_ino)
        else:
            self.seals.restamp(before, after)
        node = self.nodes.find(after.st_dev, after.st_ino)
        if node is not None:
            carry_over(node, before, after)

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name. Raises OSError."""
        self._remove(parent, name, entries.unlink)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory. Raises OSError."""
        self._remove(parent, name, entries.rmdir)

    def _remove(self, parent: Node, name: bytes, remove: Callable[[int, bytes], None]) -> None:
        dir_fd = self.nodes.directory_fd(parent)
        fd = entries.look(dir_fd, name)
        try:
            before = os.fstat(fd)
            remove(dir_fd, name)
            fd = self._unnamed(parent, name, fd, before)
        finally:
            if fd >= 0:
                os.close(fd)

    def _unnamed(self, parent: Node, name: bytes, fd: int, before: os.stat_result) -> int:
        """`name` no longer stands for the file that `fd` holds. Returns `fd`, or -1 when its node has taken it over."""
        self._gone(parent, name)
        st = os.fstat(fd)
        node = self.nodes.find(st.st_dev, st.st_ino)
        if st.st_nlink:
            self.seals.restamp(before, st)
        if node is None:
            return fd
        carry_over(node, before, st)
        if node.parent is parent and node.name == name:
            self.nodes.unnamed(node, fd)
            fd = -1
        if stat_.S_ISREG(st.st_mode) and st.st_nlink == 0:
            self.seals.drop(st.st_ino)
            self.promises.finished(st.st_ino)
            self.last_removal = time.monotonic()
        return fd

    def _gone(self, parent: Node, name: bytes) -> None:
        if self.seals.ledger.any_finding:
            above = self.nodes.path(parent)
            path = above + b"/" + name if above else name
            if self.seals.is_found(path):
                self.on_gone(path)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int, caller: Caller
    ) -> None:
        """Rename. Raises OSError; EIO when the new name promises another content than the file has (H23)."""
        src_fd, dst_fd = self.nodes.two_directory_fds(parent, new_parent)
        before = entries.stat(src_fd, name)
        if stat_.S_ISREG(before.st_mode) and not flags & syscalls.RENAME_EXCHANGE:
            await self.promises.check(parent, name, before, new_parent, new_name)
            # Descriptors of directories are kept for as long as nobody waits.
            src_fd, dst_fd = self.nodes.two_directory_fds(parent, new_parent)
        node = self.nodes.find(before.st_dev, before.st_ino)
        replaced = -1
        with suppress(FileNotFoundError):
            replaced = entries.look(dst_fd, new_name)
        try:
            target = os.fstat(replaced) if replaced >= 0 else None
            entries.rename(src_fd, name, dst_fd, new_name, flags)
            if target is not None and (target.st_dev, target.st_ino) == (before.st_dev, before.st_ino):
                return  # two names of one file: rename(2) does nothing
            if flags & syscalls.RENAME_EXCHANGE:
                self._exchanged(target, parent, name, src_fd)
                self._gone(new_parent, new_name)
            elif replaced >= 0 and target is not None:
                replaced = self._unnamed(new_parent, new_name, replaced, target)
        finally:
            if replaced >= 0:
                os.close(replaced)
        after = entries.stat(dst_fd, new_name)
        if (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            return
        self._gone(parent, name)
        self._carry_over(before, after, new_parent, new_name)
        if flags & syscalls.RENAME_EXCHANGE:
            self.promises.named(new_parent, new_name, after)
        if node is not None:
            directory = stat_.S_ISDIR(after.st_mode)
            self.nodes.moved(node, new_parent, new_name, directory=directory)
            (self.on_moved if directory else self.on_changed)(node)

    def _exchanged(self, before: os.stat_result | None, parent: Node, name: bytes, dir_fd: int) -> None:
        """What stood at the other name has got this one."""
        after = entries.stat(dir_fd, name)
        if before is None or (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino):
            return
        self._carry_over(before, after, parent, name)
        self.promises.named(parent, name, after)
        node = self.nodes.find(after.st_dev, after.st_ino)
        if node is not None:
            directory = stat_.S_ISDIR(after.st_mode)
            self.nodes.moved(node, parent, name, directory=directory)
            (self.on_moved if directory else self.on_changed)(node)

    def readlink(self, node: Node) -> bytes:
        """The target of a symlink. Raises OSError."""
        if node.held >= 0:
            return os.readlink(b"", dir_fd=node.held)
        assert node.parent is not None
        return entries.readlink(self.nodes.directory_fd(node.parent), node.name)

    def unlisted(self, entry: Entry) -> None:
        """An entry did not fit into the answer: the kernel has no reference to it, and was told nothing."""
        if entry.node.renew:
            entry.node.told = _UNTOLD
        fd = self.nodes.forget(entry.node.number, 0)
        if fd >= 0:
            os.close(fd)

    async def forget(self, number: int, lookups: int) -> None:
        """The kernel gives back references."""
        fd = self.nodes.forget(number, lookups)
        if fd < 0:
            return
        st = os.fstat(fd)
        if st.st_nlink == 0 and st.st_size > _LARGE:
            await trio.to_thread.run_sync(os.close, fd, limiter=self._limiter)
        else:
            os.close(fd)
