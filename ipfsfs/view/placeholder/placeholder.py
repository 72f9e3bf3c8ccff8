"""Placeholders as a kind of backing: the attributes of the file that a link names, and its content by leaves."""

from __future__ import annotations

import errno
import os
import stat as stat_
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from ipfsfs.plain import entries, held, links
from ipfsfs.plain.links import Link
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.access import Access
from ipfsfs.view.attributes import CID_XATTR, NOTHING, Attributes, Changes, Shown
from ipfsfs.view.backing import Caller, Content, Node, Opened, stale
from ipfsfs.view.kernel_cache import Pages
from ipfsfs.view.placeholder.content import PlaceholderContent
from ipfsfs.view.placeholder.serving import Serving
from ipfsfs.view.team import Team

_BLOCK: Final = 512
_BLKSIZE: Final = 4096
_NO_PERMISSIONS: Final = stat_.S_ISUID | stat_.S_ISGID | stat_.S_ISVTX


@dataclass(slots=True, eq=False)
class Placeholder:
    """What backs one placeholder. There may be a million: what the link says is packed."""

    _packed: bytes
    serving: Serving

    is_settled: ClassVar[bool] = False
    """As `Backing`: it turns into a resident file, or goes where its content cannot be had."""

    @classmethod
    def of(cls, said: Reference, serving: Serving) -> Placeholder:
        """The backing of a link that says this."""
        return cls(said.packed(), serving)

    @property
    def reference(self) -> Reference:
        """What the link says."""
        return Reference.unpacked(self._packed)

    @reference.setter
    def reference(self, said: Reference) -> None:
        self._packed = said.packed()

    @property
    def stands_for(self) -> Reference:
        """As `Backing`."""
        return self.reference

    def shown(self, st: os.stat_result) -> Attributes:
        """As `Backing`: owner and times are the link's own."""
        said = self.reference
        size = said.size
        return Shown(
            stat_.S_IFREG | said.mode, st.st_nlink, st.st_uid, st.st_gid, 0, size, _BLKSIZE,
            -(-size // _BLOCK), st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
        )  # fmt: skip

    def attributes(self, node: Node) -> Attributes:
        """As `Backing`."""
        return self.shown(self.serving.nodes.stat(node))

    def allows(self, node: Node, mode: int) -> bool:
        """As `Backing`, by the owner's permissions: this process is its only user's."""
        del node
        return os.geteuid() == 0 or not mode & ~(self.reference.mode >> 6)

    async def resident(self, node: Node) -> None:
        """As `Backing`."""
        if node.backing is self:
            with self.serving.failures_logged(node):
                await self.serving.hydrating.fetch(node, self.reference)

    async def change(self, node: Node, changes: Changes, content: Content | None, caller: Caller) -> Attributes:
        """As `Backing`: who cuts the file fetches it first, but for one that is emptied."""
        if changes.size is not None:
            if changes.size == 0:
                self._empty(node)
            else:
                await self.resident(node)
            if isinstance(content, PlaceholderContent):
                content = await content.resident()
            return await node.backing.change(node, changes, content, caller)
        if changes.uid not in (None, 0, os.geteuid()) or (changes.mode or 0) & _NO_PERMISSIONS:
            await self.resident(node)  # a link of theirs, or with such a mode, would be no placeholder
            return await node.backing.change(node, changes, content, caller)
        if changes.mode is not None and stat_.S_IMODE(changes.mode) != self.reference.mode:
            self._set_mode(node, stat_.S_IMODE(changes.mode))
        with self.serving.nodes.reached(node) as fd:
            before = os.fstat(fd)
            _set(fd, before, changes)
            after = os.fstat(fd)
        node.cache.carried(before, after)
        node.cache.told(after)
        return self.shown(after)

    def _set_mode(self, node: Node, mode: int) -> None:
        if node.held >= 0:  # its link goes with it: nothing on disk has a mode to be changed
            self.reference = replace(self.reference, mode=mode)
            return
        with self._link(node) as link:
            changed = replace(self.reference, mode=mode)
            beside = links.make_link_beside(reference.text(changed), link)
            made = entries.stat(link.dir_fd, beside)
            links.replace_from_beside(beside, link)
            after = entries.stat(link.dir_fd, link.name)
            if after.st_ino != made.st_ino:
                raise stale()
        self.serving.nodes.rebind(node, after)
        self.serving.links.renew(node)
        node.cache.carried(link.st, after)
        self.reference = changed

    def _empty(self, node: Node) -> None:
        """Put an empty file in the place of the link: nothing of its content is wanted."""
        if node.held >= 0:
            self._empty_nameless(node)
            return
        with self._link(node) as link:
            beside, fd = links.make_file_beside(link, self.reference.mode)
            try:
                links.replace_from_beside(beside, link)
                os.utime(fd)
                after = os.fstat(fd)
            finally:
                os.close(fd)
        self.serving.nodes.rebind(node, after)
        node.cache.changed(after)
        node.backing = self.serving.resident

    def _empty_nameless(self, node: Node) -> None:
        """The same for a node whose name is gone, and which is open."""
        fd = links.make_nameless(self.serving.loads.extents.fd)
        try:
            links.give_attributes(fd, os.fstat(node.held), self.reference.mode)
            os.utime(fd)
            os.close(node.held)
            node.held = os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        self.serving.nodes.rebind(node, after)
        node.cache.changed(after)
        node.backing = self.serving.resident

    @contextmanager
    def _link(self, node: Node) -> Iterator[Link]:
        """The link that the node's name stands for. Raises OSError; ESTALE where that is another by now."""
        if node.parent is None or node.held >= 0:
            raise stale()
        with self.serving.nodes.looked(node.parent) as directory:
            try:
                link = Link.at(directory, node.name)
            except OSError:
                raise stale() from None
            if (link.st.st_dev, link.st.st_ino) != (node.dev, node.ino):
                raise stale()
            yield link

    async def get_xattr(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """As `Backing`: it has none but its CID."""
        del node, caller
        if name == CID_XATTR:
            return cid.to_text(self.reference.root).encode("ascii")
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    async def set_xattr(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """As `Backing`; the whole file is fetched first."""
        if name == CID_XATTR:
            raise OSError(errno.EPERM, "a CID follows from the content")
        await self.resident(node)
        await node.backing.set_xattr(node, name, value, caller)

    def list_xattrs(self, node: Node) -> list[bytes]:
        """As `Backing`."""
        del node
        return []

    def remove_xattr(self, node: Node, name: bytes) -> None:
        """As `Backing`."""
        del node, name
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    def open_nowait(self, node: Node, access: Access, caller: Caller) -> Opened | None:
        """As `Backing`: to open one never waits for the network. A file that is truncated is made by `open`."""
        if access.truncates:
            return None
        if node.withdrawn:
            raise stale()
        self.serving.hydrating.taking_back.refuse_what_is_refused(node)
        pages = node.cache.opened(self.serving.nodes.stat(node), caller.pid)
        if pages is Pages.LOOK_AGAIN:
            raise stale()
        self.serving.links.hold(node)
        return Opened(PlaceholderContent(node, self.reference, self.serving, access, caller), pages is Pages.KEEP)

    async def open(self, node: Node, access: Access, caller: Caller) -> Opened:
        """As `Backing`."""
        opened = self.open_nowait(node, access, caller)
        if opened is not None:
            return opened
        self._empty(node)
        return await node.backing.open(node, access, caller)


@dataclass(slots=True)
class Placeholders:
    """Which links are placeholders."""

    serving: Serving
    team: Team | None = None

    def at(self, node: Node | None, dir_fd: int, name: bytes, st: os.stat_result) -> Placeholder | None:
        """The backing of a link at a name where one may be a placeholder; None where it is an ordinary link. `node`:
        the node that the link is known by, if it is."""
        found = reference.parse(entries.readlink(dir_fd, name))
        if found is None:
            return None
        if self.team is not None:
            found = replace(found, mode=self.team.file_mode(found.mode))
        if node is not None and isinstance(node.backing, Placeholder) and node.backing.reference == found:
            return node.backing
        self.serving.loads.fetcher.expect()
        return Placeholder.of(found, self.serving)

    def may_be_one(self, st: os.stat_result) -> bool:
        """As `Elsewhere`."""
        return links.may_be_placeholder(st)

    def is_reference(self, text: bytes) -> bool:
        """As `Elsewhere`."""
        return reference.parse(text) is not None


def _set(fd: int, before: os.stat_result, changes: Changes) -> None:
    if changes == NOTHING:
        held.chown(fd, -1, -1)
    if changes.uid is not None or changes.gid is not None:
        held.chown(fd, -1 if changes.uid is None else changes.uid, -1 if changes.gid is None else changes.gid)
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        held.set_times(
            fd,
            before.st_atime_ns if changes.atime_ns is None else changes.atime_ns,
            before.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns,
        )
