"""A bare pyfuse3 passthrough, as quick as pyfuse3 allows: what ipfsfs is compared with.

It checks nothing, keeps nothing and recovers from nothing. `python -m tests.bench.passthrough PLAIN MOUNTPOINT`.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

import pyfuse3
import trio

from ipfsfs.plain.buffers import page_aligned

TRUSTED_S = 1.0
LARGEST_READ = 1 << 20


class Passthrough(pyfuse3.Operations):
    """Numbers are those of the files below; each has its path."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(self, root: bytes) -> None:
        super().__init__()
        self.paths = {pyfuse3.ROOT_INODE: root}
        self.lookups: dict[int, int] = {}
        self.listings: dict[int, list[os.DirEntry[bytes]]] = {}
        self.buffer = page_aligned(LARGEST_READ)

    def entry(self, path: bytes, st: os.stat_result, counted: bool = True) -> pyfuse3.EntryAttributes:
        shown = pyfuse3.EntryAttributes()
        number = st.st_ino
        shown.st_ino = number
        if counted:
            self.paths[number] = path
            self.lookups[number] = self.lookups.get(number, 0) + 1
        shown.entry_timeout = shown.attr_timeout = TRUSTED_S
        shown.st_mode = st.st_mode
        shown.st_nlink = st.st_nlink
        shown.st_uid = st.st_uid
        shown.st_gid = st.st_gid
        shown.st_rdev = st.st_rdev
        shown.st_size = st.st_size
        shown.st_blksize = st.st_blksize
        shown.st_blocks = st.st_blocks
        shown.st_atime_ns = st.st_atime_ns
        shown.st_mtime_ns = st.st_mtime_ns
        shown.st_ctime_ns = st.st_ctime_ns
        return shown

    def found(self, path: bytes) -> pyfuse3.EntryAttributes:
        try:
            return self.entry(path, os.lstat(path))
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def lookup(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        path = self.paths[parent_inode] + b"/" + name
        try:
            st = os.lstat(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
            absent = pyfuse3.EntryAttributes()
            absent.st_ino = 0
            absent.entry_timeout = TRUSTED_S
            return absent
        return self.entry(path, st)

    async def forget(self, inode_list):  # type: ignore[no-untyped-def]
        for number, count in inode_list:
            left = self.lookups.get(number, 0) - count
            if left > 0:
                self.lookups[number] = left
            else:
                self.lookups.pop(number, None)
                self.paths.pop(number, None)

    async def getattr(self, inode, ctx):  # type: ignore[no-untyped-def]
        try:
            return self.entry(b"", os.lstat(self.paths[inode]), counted=False)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def setattr(self, inode, attr, fields, fh, ctx):  # type: ignore[no-untyped-def]
        path = self.paths[inode]
        try:
            if fields.update_size:
                os.truncate(path if fh is None else fh, attr.st_size)
            if fields.update_mode:
                os.chmod(path, stat.S_IMODE(attr.st_mode))
            if fields.update_uid or fields.update_gid:
                os.lchown(path, attr.st_uid if fields.update_uid else -1, attr.st_gid if fields.update_gid else -1)
            if fields.update_atime or fields.update_mtime:
                st = os.lstat(path)
                times = (
                    attr.st_atime_ns if fields.update_atime else st.st_atime_ns,
                    attr.st_mtime_ns if fields.update_mtime else st.st_mtime_ns,
                )
                os.utime(path, ns=times, follow_symlinks=False)
            return self.entry(b"", os.lstat(path), counted=False)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def readlink(self, inode, ctx):  # type: ignore[no-untyped-def]
        try:
            return os.readlink(self.paths[inode])
        except OSError as error:  # the kernel still takes it for a link
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def mkdir(self, parent_inode, name, mode, ctx):  # type: ignore[no-untyped-def]
        path = self.paths[parent_inode] + b"/" + name
        try:
            os.mkdir(path, stat.S_IMODE(mode))
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        return self.found(path)

    async def symlink(self, parent_inode, name, target, ctx):  # type: ignore[no-untyped-def]
        path = self.paths[parent_inode] + b"/" + name
        try:
            os.symlink(target, path)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        return self.found(path)

    async def unlink(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        try:
            os.unlink(self.paths[parent_inode] + b"/" + name)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def rmdir(self, parent_inode, name, ctx):  # type: ignore[no-untyped-def]
        try:
            os.rmdir(self.paths[parent_inode] + b"/" + name)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def rename(self, old_parent, old_name, new_parent, new_name, flags, ctx):  # type: ignore[no-untyped-def]
        old, new = self.paths[old_parent] + b"/" + old_name, self.paths[new_parent] + b"/" + new_name
        try:
            number = os.lstat(old).st_ino
            os.rename(old, new)
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        if number in self.paths:
            self.paths[number] = new
            if stat.S_ISDIR(os.lstat(new).st_mode):
                for other, path in self.paths.items():
                    if path.startswith(old + b"/"):
                        self.paths[other] = new + path[len(old) :]

    async def open(self, inode, flags, ctx):  # type: ignore[no-untyped-def]
        try:
            fd = os.open(self.paths[inode], flags & (os.O_ACCMODE | os.O_TRUNC))
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        return pyfuse3.FileInfo(fh=fd, keep_cache=True)

    async def create(self, parent_inode, name, mode, flags, ctx):  # type: ignore[no-untyped-def]
        path = self.paths[parent_inode] + b"/" + name
        try:
            fd = os.open(path, (flags & os.O_ACCMODE) | os.O_CREAT | os.O_TRUNC, stat.S_IMODE(mode))
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        return pyfuse3.FileInfo(fh=fd, keep_cache=True), self.entry(path, os.fstat(fd))

    async def read(self, fh, off, size):  # type: ignore[no-untyped-def]
        data = self.buffer[:size]  # is answered with before the next request is read
        return data[: os.preadv(fh, [data], off)]

    async def write(self, fh, off, buf):  # type: ignore[no-untyped-def]
        return os.pwrite(fh, buf, off)

    async def release(self, fh):  # type: ignore[no-untyped-def]
        os.close(fh)

    async def fsync(self, fh, datasync):  # type: ignore[no-untyped-def]
        await trio.to_thread.run_sync(os.fsync, fh)

    async def opendir(self, inode, ctx):  # type: ignore[no-untyped-def]
        self.listings[inode] = list(os.scandir(self.paths[inode]))
        return inode

    async def readdir(self, fh, start_id, token):  # type: ignore[no-untyped-def]
        entries = self.listings[fh]
        for position in range(start_id, len(entries)):
            entry = entries[position]
            shown = self.entry(entry.path, entry.stat(follow_symlinks=False), counted=False)
            if not pyfuse3.readdir_reply(token, entry.name, shown, position + 1):
                return
            number = shown.st_ino
            self.paths[number] = entry.path
            self.lookups[number] = self.lookups.get(number, 0) + 1

    async def releasedir(self, fh):  # type: ignore[no-untyped-def]
        pass

    async def statfs(self, ctx):  # type: ignore[no-untyped-def]
        st = os.statvfs(self.paths[pyfuse3.ROOT_INODE])
        shown = pyfuse3.StatvfsData()
        for name in ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"):
            setattr(shown, name, getattr(st, name))
        shown.f_namemax = st.f_namemax
        return shown


def main() -> None:
    """Serve until unmounted."""
    plain, mountpoint = sys.argv[1:3]
    os.umask(0)
    # Without default_permissions: with it the kernel asks for a directory's attributes before each change in it.
    pyfuse3.init(Passthrough(os.fsencode(plain)), mountpoint, {"fsname=bare", "subtype=bare"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
