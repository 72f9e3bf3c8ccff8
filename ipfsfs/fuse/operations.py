"""One handler for each request of the kernel: numbers to nodes, the call, and the answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Any, Final

import pyfuse3

from ipfsfs.fuse.answer import answered, unanswered
from ipfsfs.fuse.attributes import absent, attributes, changes, of_entry
from ipfsfs.fuse.leading import LARGE, Leading
from ipfsfs.fuse.reading_threads import WORTH_A_THREAD, Handed, ReadingThreads
from ipfsfs.fuse.replies import CACHE_DIR, KEEP_CACHE, Replies
from ipfsfs.view.access import Access
from ipfsfs.view.backing import Content
from ipfsfs.view.handles import Handle
from ipfsfs.view.listings import DOTS
from ipfsfs.view.names import Entry
from ipfsfs.view.view import View

_NOTHING: Final = b""


class Operations(pyfuse3.Operations):
    """The handlers."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, view: View, replies: Replies, threads: ReadingThreads, leading: Leading, *, acl: bool) -> None:
        super().__init__()
        self.view = view
        self.counts = view.counts
        self.replies = replies
        self.threads = threads
        self.leading = leading
        self.enable_acl = acl

    @answered
    async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        self.counts.lookups += 1
        names, parent = self.view.names, self.view.nodes[parent_inode]
        entry = names.lookup(parent, name, ctx) or self.view.locking.entry(parent, name, ctx)
        if entry is None:
            entry = None if self.view.appearing is None else await self.view.appear(parent, name, ctx)
        return absent(names.absent_s(parent, name)) if entry is None else _referenced(entry)

    @unanswered
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        for number, lookups in inode_list:
            await self.view.names.forget(number, lookups)

    @answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return of_entry(self.view.names.known(self.view.nodes[inode]))

    @answered
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        node = self.view.nodes[inode]
        return attributes(node, await self.view.change(node, changes(attr, fields), fh, ctx))

    @answered
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return self.view.names.readlink(self.view.nodes[inode])

    @answered
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = self.view.names.mknod(self.view.nodes[parent_inode], name, mode, rdev, ctx)
        return _referenced(entry)

    @answered
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = self.view.names.mkdir(self.view.nodes[parent_inode], name, mode, ctx)
        return _referenced(entry)

    @answered
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = self.view.names.symlink(self.view.nodes[parent_inode], name, target, ctx)
        return _referenced(entry)

    @answered
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        entry = await self.view.names.link(self.view.nodes[inode], self.view.nodes[new_parent_inode], new_name, ctx)
        return _referenced(entry)

    @answered
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self.view.names.unlink(self.view.nodes[parent_inode], name)

    @answered
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self.view.names.rmdir(self.view.nodes[parent_inode], name)

    @answered
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        old, new = self.view.nodes[parent_inode_old], self.view.nodes[parent_inode_new]
        await self.view.renames.rename(old, name_old, new, name_new, flags, ctx)

    @answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        self.counts.opens += 1
        node, access = self.view.nodes[inode], Access.parse(flags)
        opened = self.view.open_nowait(node, access, ctx) or await self.view.open(node, access, ctx)
        self._pass_through(opened)
        return pyfuse3.FileInfo(fh=opened.number, keep_cache=opened.keep)

    @answered
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self.counts.opens += 1
        parent = self.view.nodes[parent_inode]
        entry, opened = await self.view.create(parent, name, Access.parse(flags), mode, ctx)
        self._pass_through(opened)
        return pyfuse3.FileInfo(fh=opened.number, keep_cache=opened.keep), _referenced(entry)

    def _pass_through(self, opened: Handle) -> None:
        if opened.backing:
            self.counts.native_opens += 1
            self.replies.pass_through(opened.backing)

    @answered
    async def read(self, fh: int, off: int, size: int) -> Any:
        content = self.view.handles[fh]
        if size >= LARGE:
            self.leading.saw_read()
        if size >= WORTH_A_THREAD and self._handed_over(content, off, size):
            return _NOTHING
        waited = False
        try:
            data = content.read_nowait(off, size)
            if data is None:
                if size < WORTH_A_THREAD and self._handed_over(content, off, size):
                    return _NOTHING
                waited = True
                data = await content.read(off, size)
        except Exception:  # not where the request is cancelled
            self.counts.failed_read(waited=waited)
            raise
        self.counts.read(len(data), waited=waited)
        return data

    def _handed_over(self, content: Content, off: int, size: int) -> bool:
        """Whether a thread answers a READ. Then pyfuse3's reply is withheld, and the handler is to end at once."""
        job = content.job(off, size) if self.threads.are_running else None
        if job is None:
            return False
        self.replies.withhold(Handed(self.threads, content, off, size, job))
        return True

    @answered
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        content = self.view.handles[fh]
        written = content.write_nowait(off, buf)
        if written is None:
            written = await content.write(off, buf)
        self.counts.writes += 1
        self.counts.written_bytes += written
        return written

    @answered
    async def flush(self, fh: int) -> None:
        # Closing the plain descriptor has nothing to report that write did not; ENOSYS ends these requests for good.
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @answered
    async def release(self, fh: int) -> None:
        self.view.handles.release(fh)

    @answered
    async def fsync(self, fh: int, datasync: bool) -> None:
        await self.view.handles[fh].sync(data_only=datasync)

    @answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        opened = self.view.listings.open(self.view.nodes[inode], ctx)
        self.replies.add(CACHE_DIR * opened.keep | KEEP_CACHE * opened.unchanged)
        return opened.number

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for position, name, entry in self.view.listings.read(fh, start_id):
            if not pyfuse3.readdir_reply(token, name, of_entry(entry), position):
                self.view.names.unlisted(entry)
                return
            if position > DOTS:
                entry.node.lookups += 1

    @answered
    async def releasedir(self, fh: int) -> None:
        self.view.listings.release(fh)

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self.view.listings.sync(fh)

    @answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        st: os.statvfs_result = self.view.plain.statvfs()
        shown = pyfuse3.StatvfsData()
        shown.f_bsize = st.f_bsize
        shown.f_frsize = st.f_frsize
        shown.f_blocks = st.f_blocks
        shown.f_bfree = st.f_bfree
        shown.f_bavail = st.f_bavail
        shown.f_files = st.f_files
        shown.f_ffree = st.f_ffree
        shown.f_favail = st.f_favail
        shown.f_namemax = st.f_namemax
        return shown

    @answered
    async def access(self, inode: int, mode: int, ctx: pyfuse3.RequestContext) -> bool:
        node = self.view.nodes[inode]
        return node.backing.allows(node, mode)

    @answered
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        node = self.view.nodes[inode]
        return await node.backing.get_xattr(node, name, ctx)

    @answered
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        node = self.view.nodes[inode]
        await node.backing.set_xattr(node, name, value, ctx)

    @answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        node = self.view.nodes[inode]
        return node.backing.list_xattrs(node)

    @answered
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        node = self.view.nodes[inode]
        node.backing.remove_xattr(node, name)


def _referenced(entry: Entry) -> pyfuse3.EntryAttributes:
    """An entry the kernel takes a reference to with the answer; it gives it back with FORGET."""
    entry.node.lookups += 1
    return of_entry(entry)
