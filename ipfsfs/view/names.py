"""Names: looking them up, making, removing and renaming them. Each is one system call on the plain directory."""

from __future__ import annotations

import errno
import os
import stat as stat_
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from ipfsfs.caches.place import Kind
from ipfsfs.plain import entries
from ipfsfs.view.access import Access
from ipfsfs.view.attributes import Attributes
from ipfsfs.view.backing import Backing, Caller, Elsewhere, Node
from ipfsfs.view.making import At, Making
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.records import Records
from ipfsfs.view.team import Team
from ipfsfs.view.upkeep.upkeep import Upkeep

LONG_S: Final = 86_400.0
"""How long the kernel may trust files and links that are immutable (H22): to open one compares it."""
SHORT_S: Final = 1.0
"""How long it may trust everything else, directories and absence included: others may write beneath the view."""
_LARGE: Final = 64 * 1024 * 1024
"""Closing the last descriptor of a removed file frees its blocks; for one larger than this that is worth a thread."""


class Entry(NamedTuple):
    """A name's file and attributes, and for how many seconds the kernel may trust them."""

    node: Node
    attributes: Attributes
    timeout_s: float


@dataclass(slots=True)
class Names:
    """The namespace of the view."""

    nodes: NodeTable
    resident: Backing
    elsewhere: Elsewhere
    records: Records
    upkeep: Upkeep
    making: Making
    team: Team | None = None
    """Who shares the view, where secrets are seen by their owners alone."""
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4))

    def lookup(self, parent: Node, name: bytes, caller: Caller | None = None) -> Entry | None:
        """What stands under a name for who asks (None: the daemon itself); None when nothing does. Raises OSError."""
        try:
            st = entries.stat(self.nodes.directory_fd(parent), name)
        except FileNotFoundError:
            return None
        if (
            self.team is not None
            and caller is not None
            and self.team.hides(self.nodes.place(parent), name, st, caller.uid)
        ):
            return None
        return self.found(parent, name, st)

    def absent_s(self, parent: Node, name: bytes) -> float:
        """How long the kernel may trust that a name is not there: not at all where that depends on who asks, or on what
        other machines will have."""
        if self.upkeep.site is not None and self.nodes.place(parent).classify(name).promise is not None:
            return 0.0
        if self.team is not None and self.nodes.place(parent).classify(name).kind is Kind.SECRET:
            return 0.0
        return SHORT_S

    def found(self, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        """The entry of what was just seen under a name."""
        backing = self._backing_of_link(parent, name, st) if stat_.S_ISLNK(st.st_mode) else self.resident
        return self._trusted(self.nodes.adopt(parent, name, st, backing), parent, name, st)

    def _backing_of_link(self, parent: Node, name: bytes, st: os.stat_result) -> Backing:
        """What backs a link in the plain directory. Lookups and listings decide it here, and nothing else does."""
        if self.elsewhere.may_be_one(st) and self.nodes.place(parent).may_be_elsewhere(name):
            node = self.nodes.find(st.st_dev, st.st_ino)
            found = self.elsewhere.at(node, self.nodes.directory_fd(parent), name, st)
            if found is not None:
                return found
        return self.resident

    def known(self, node: Node) -> Entry:
        """The entry of a node, by the name it is known by. Raises OSError; ESTALE where that reaches another file."""
        st = self.nodes.stat(node)
        if node.parent is None or node.held >= 0:
            is_trusted = node.backing.is_settled and not node.cache.written_unseen
            return Entry(node, node.backing.shown(st), SHORT_S if is_trusted else 0.0)
        return self._trusted(node, node.parent, node.name, st)

    def _trusted(self, node: Node, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        node.cache.told(st)
        backing = node.backing
        if not backing.is_settled or node.cache.written_unseen:
            return Entry(node, backing.shown(st), 0.0)
        if self.team is not None and (
            self.team.is_secret(self.nodes.place(parent), name, st.st_mode) or self.team.is_turning(parent.number, name)
        ):
            return Entry(node, backing.shown(st), 0.0)  # the kernel's entries are one for all users
        kept = (
            self.nodes.place(parent).is_immutable(name, is_link=stat_.S_ISLNK(st.st_mode))
            and not stat_.S_ISDIR(st.st_mode)
            and not self.upkeep.is_unverified(st)
        )
        return Entry(node, backing.shown(st), LONG_S if kept else SHORT_S)

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        """Make a directory. Raises OSError."""
        at = self._at(parent, name)
        self.making.directory(at, stat_.S_IMODE(mode), caller)
        return self.found(parent, name, entries.stat(at.dir_fd, name))

    def mknod(self, parent: Node, name: bytes, mode: int, device: int, caller: Caller) -> Entry:
        """Make a regular file, fifo, socket or device. Raises OSError."""
        at = self._at(parent, name)
        self.making.node(at, mode, device, caller)
        return self._made(parent, name, entries.stat(at.dir_fd, name))

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        """Make a symlink, be it one that stands for a file which is not here: that is answered as the link that the
        kernel expects, and is a file when it is looked up. Raises OSError; EPERM where another user than the view's own
        would have content fetched (H41)."""
        at = self._at(parent, name)
        is_placeholder = at.place.may_be_elsewhere(name) and self.elsewhere.is_reference(target)
        if is_placeholder and caller.uid not in (0, os.geteuid()):
            raise OSError(errno.EPERM, "only who mounted the view may have content fetched into it")
        self.making.link(at, target, caller)
        st = entries.stat(at.dir_fd, name)
        entry = self.found(parent, name, st)
        return Entry(entry.node, st, 0.0) if is_placeholder else entry

    def create(self, parent: Node, name: bytes, access: Access, mode: int, caller: Caller) -> tuple[Entry, int]:
        """Make and open a regular file; the descriptor is the caller's. Raises OSError: EEXIST when it is there."""
        # Asked for with another descriptor: once the file is made, it is too late to refuse it one.
        os.close(self.nodes.for_worker(os.dup(self.nodes.root.held)))
        fd = self.making.file(self._at(parent, name), access.flags, stat_.S_IMODE(mode), caller)
        return self._made(parent, name, os.fstat(fd)), fd

    def _at(self, parent: Node, name: bytes) -> At:
        return At(self.nodes.directory_fd(parent), self.nodes.place(parent), name)

    def _made(self, parent: Node, name: bytes, st: os.stat_result) -> Entry:
        entry = self.found(parent, name, st)
        self.upkeep.made(entry.node, parent, name)
        # Whatever its name is: it is being written, and may have to go when a promise proves broken.
        return entry._replace(timeout_s=min(entry.timeout_s, SHORT_S))

    async def link(self, node: Node, parent: Node, name: bytes, caller: Caller) -> Entry:
        """Give a file a second name. Raises OSError."""
        await node.backing.resident(node)
        if self.team is not None:
            self._make_private(self.team, node, self._at(parent, name), caller)
        with self.nodes.looked(node) as fd:
            await self.upkeep.about_to_be_named(parent, name, fd)
        before = self.nodes.stat(node)
        if node.held >= 0:
            dst_fd = self.nodes.directory_fd(parent)
            os.link(b"/proc/self/fd/%d" % node.held, name, dst_dir_fd=dst_fd, follow_symlinks=True)
        else:
            assert node.parent is not None
            src_fd, dst_fd = self.nodes.two_directory_fds(node.parent, parent)
            entries.link(src_fd, node.name, dst_fd, name)
        st = entries.stat(dst_fd, name)
        self.records.named(before, st, self.nodes.place(parent).classify(name))
        return self.found(parent, name, st)

    def _make_private(self, team: Team, node: Node, at: At, caller: Caller) -> None:
        """A file is about to get a name, which may be a secret's. Raises OSError."""
        team.refuse_anothers(at.place, at.dir_fd, at.name, caller)
        with self.nodes.looked(node) as fd:
            before = os.fstat(fd)
            if team.keep_private(at.place, at.name, fd, caller):
                self.records.same_content(before, os.fstat(fd))

    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name. Raises OSError."""
        self._remove(parent, name, entries.unlink)
        self.upkeep.unlinked(parent, name)

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory. Raises OSError."""
        self._remove(parent, name, entries.rmdir)

    def _remove(self, parent: Node, name: bytes, remove: Callable[[int, bytes], None]) -> None:
        dir_fd = self.nodes.directory_fd(parent)
        fd = entries.look(dir_fd, name)
        try:
            before = os.fstat(fd)
            remove(dir_fd, name)
            fd = self.records.unnamed(parent, name, fd, before)
        finally:
            if fd >= 0:
                os.close(fd)

    def readlink(self, node: Node) -> bytes:
        """The target of a symlink. Raises OSError."""
        if node.held >= 0:
            return os.readlink(b"", dir_fd=node.held)
        assert node.parent is not None
        return entries.readlink(self.nodes.directory_fd(node.parent), node.name)

    def unlisted(self, entry: Entry) -> None:
        """An entry did not fit into the answer: the kernel has no reference to it, and learnt nothing of it."""
        entry.node.cache.lost()
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
