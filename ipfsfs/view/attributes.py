"""Attributes: what stat shows and chmod, chown, utime and truncate set, and extended attributes."""

from __future__ import annotations

import errno
import os
import stat as stat_
from dataclasses import dataclass
from typing import Final

from ipfsfs.hubcache.classify import Kind, kind
from ipfsfs.plain import held
from ipfsfs.plain.ownership import groups_of
from ipfsfs.unixfs import cid
from ipfsfs.view.handles import Caller, Handles, carry_over, stamp
from ipfsfs.view.nodes import Node, NodeTable
from ipfsfs.view.promises import Promises
from ipfsfs.view.sealing import Sealing
from ipfsfs.view.seals import Seals
from ipfsfs.view.trees import Trees
from ipfsfs.view.writing import Writer

CID_XATTR: Final = b"ipfs.cid"
"""The CID of a sealed file as text; the name that Kubo's own mount uses. Not listed: copying it must not be tried."""


@dataclass(slots=True, frozen=True)
class Changes:
    """Which attributes to set; None leaves one as it is. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


NOTHING: Final = Changes()


def _in_group(caller: Caller, gid: int) -> bool:
    return caller.uid == 0 or caller.gid == gid or gid in groups_of(caller.pid)


@dataclass(slots=True)
class Attributes:
    """Reads and sets attributes."""

    nodes: NodeTable
    handles: Handles
    seals: Seals
    promises: Promises
    sealing: Sealing
    writer: Writer
    trees: Trees

    def allows(self, node: Node, mode: int) -> bool:
        """Whether this process, which is its only user's, may use a file as access(2) asks. Raises OSError."""
        fd = self.nodes.look(node)
        try:
            return held.allows(fd, mode)
        finally:
            os.close(fd)

    async def set(self, node: Node, changes: Changes, handle: int | None, caller: Caller) -> os.stat_result:
        """Set attributes and return all of them. Raises OSError."""
        fd = self.nodes.reach(node)
        try:
            before = os.fstat(fd)
            if changes.size is not None:
                await self._truncate(node, fd, before, changes.size, handle, caller)
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
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if changes.size is None:
            self._carry_over(node, before, after)
        if changes.size is not None or node.told not in (0, stamp(before), stamp(after)):
            node.renew = True
        node.told = stamp(after)
        if node.file is not None:
            if (after.st_mode, after.st_uid, after.st_gid) != (before.st_mode, before.st_uid, before.st_gid):
                node.file.guarded = True
            if changes.mtime_ns is not None and node.file.writers:
                node.file.written = True  # sealed anew when the last of them has gone
        if stat_.S_ISREG(after.st_mode) and (node.file is None or not node.file.writers):
            self.sealing.changed(node)
        return after

    async def _truncate(
        self, node: Node, fd: int, before: os.stat_result, size: int, handle: int | None, caller: Caller
    ) -> None:
        with self.handles.shared_for_now(node) as file:
            await self.writer.unseal_to_truncate(file, before, caller.pid, below=size)
        if handle is not None:
            os.ftruncate(self.handles.file(handle).fd, size)
        else:
            held.truncate(fd, size)
        if file.writers:
            file.written = True
        self.promises.truncated(node.ino, size)

    async def get_xattr(self, node: Node, name: bytes) -> bytes:
        """The value of an extended attribute. Raises OSError: ENODATA for the CID of what is not (wholly) sealed."""
        if name == CID_XATTR:
            return cid.to_text(await self._cid(node)).encode("ascii")
        if node.file is not None and (own := node.file.own) >= 0:  # the kernel asks at every first write
            return os.getxattr(own, name)
        fd = self.nodes.reach(node)
        try:
            return held.get_xattr(fd, name)
        finally:
            os.close(fd)

    async def _cid(self, node: Node) -> bytes:
        st = self.nodes.stat(node)
        # By the name it has now (H36): a seal from before may still be there.
        if node.parent is None or kind(self.nodes.place(node.parent), node.name) not in (Kind.SECRET, Kind.SCRATCH):
            seal = self.seals.agreeing(st)
            if seal is not None:
                return seal.root
        if (not stat_.S_ISREG(st.st_mode) and node.held < 0) or node is self.nodes.root:
            root, unsealed = await self.trees.name(self.nodes.path(node))
            if not unsealed:
                return root
        raise OSError(errno.ENODATA, "not sealed")

    def set_xattr(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """Set an extended attribute. Raises OSError."""
        if name == CID_XATTR:
            raise OSError(errno.EPERM, "a CID follows from the content")
        fd = self.nodes.reach(node)
        try:
            before = os.fstat(fd)
            held.set_xattr(fd, name, value)
            if name == held.ACL and before.st_mode & stat_.S_ISGID and not _in_group(caller, before.st_gid):
                # The kernel clears it for whoever is not in the file's group; here it only sees root (fuse.md).
                held.chmod(fd, stat_.S_IMODE(os.fstat(fd).st_mode) & ~stat_.S_ISGID)
            if name == held.ACL and node.file is not None:
                node.file.guarded = True
            self._carry_over(node, before, os.fstat(fd))
        finally:
            os.close(fd)

    def list_xattrs(self, node: Node) -> list[bytes]:
        """The names of the extended attributes. Raises OSError."""
        fd = self.nodes.reach(node)
        try:
            return held.list_xattrs(fd)
        finally:
            os.close(fd)

    def remove_xattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute. Raises OSError."""
        fd = self.nodes.reach(node)
        try:
            before = os.fstat(fd)
            held.remove_xattr(fd, name)
            self._carry_over(node, before, os.fstat(fd))
        finally:
            os.close(fd)

    def _carry_over(self, node: Node, before: os.stat_result, after: os.stat_result) -> None:
        self.seals.restamp(before, after)
        carry_over(node, before, after)
