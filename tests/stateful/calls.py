"""System calls on names and descriptors in one of two directories; each raises OSError as the call does."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import stat
import struct
import time
from typing import Any, Final

from tests.stateful.side import Side, checked, content, digest
from tests.support.twins import shown

_libc = ctypes.CDLL(None, use_errno=True)
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276}[os.uname().machine]
_AT_FDCWD: Final = -100
_FLOCK: Final = struct.Struct("hhqqi4x")


def open_(side: Side, number: int, path: bytes, flags: int, mode: int, umask: int) -> tuple[Any, ...]:
    before = os.umask(umask)
    try:
        fd = os.open(side.path(path), flags, mode)
    finally:
        os.umask(before)
    side.put(number, fd)
    return shown(os.fstat(fd))


def reopen(side: Side, number: int, of: int, flags: int) -> tuple[Any, ...]:
    """By way of procfs: the same file by no name of its own."""
    side.put(number, os.open(f"/proc/self/fd/{side.fds[of]}", flags))
    return shown(os.fstat(side.fds[number]))


def mkdir(side: Side, path: bytes, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        os.mkdir(side.path(path), mode)
    finally:
        os.umask(before)


def makedirs(side: Side, path: bytes) -> None:
    os.makedirs(side.path(path))


def mknod(side: Side, path: bytes, mode: int, device: int) -> None:
    os.mknod(side.path(path), mode, device)


def rmdir(side: Side, path: bytes) -> None:
    os.rmdir(side.path(path))


def unlink(side: Side, path: bytes) -> None:
    os.unlink(side.path(path))


def rename(side: Side, path: bytes, new_path: bytes, flags: int) -> None:
    if flags:
        checked(_libc.syscall(_RENAMEAT2, _AT_FDCWD, side.path(path), _AT_FDCWD, side.path(new_path), flags))
    else:
        os.rename(side.path(path), side.path(new_path))


def link(side: Side, path: bytes, new_path: bytes, follow: bool) -> None:
    if follow:
        os.link(side.path(path), side.path(new_path), src_dir_fd=0)  # link(2), which follows nothing, without that
    else:
        os.link(side.path(path), side.path(new_path), follow_symlinks=False)


def link_open(side: Side, number: int, new_path: bytes) -> None:
    os.link(f"/proc/self/fd/{side.fds[number]}".encode(), side.path(new_path), src_dir_fd=0)


def symlink(side: Side, target: bytes, path: bytes) -> None:
    os.symlink(target, side.path(path))


def readlink(side: Side, path: bytes) -> bytes:
    return os.readlink(side.path(path))


def truncate(side: Side, path: bytes, size: int) -> None:
    os.truncate(side.path(path), size)


def stat_(side: Side, path: bytes, follow: bool) -> tuple[Any, ...]:
    return shown(os.stat(side.path(path), follow_symlinks=follow))


def access(side: Side, path: bytes, mode: int) -> bool:
    return os.access(side.path(path), mode)


def chmod(side: Side, path: bytes, mode: int) -> None:
    os.chmod(side.path(path), mode)


def chown(side: Side, path: bytes, uid: int, gid: int, follow: bool) -> None:
    os.chown(side.path(path), uid, gid, follow_symlinks=follow)


def utime(side: Side, path: bytes, atime_ns: int, mtime_ns: int, follow: bool) -> tuple[int, int]:
    os.utime(side.path(path), ns=(atime_ns, mtime_ns), follow_symlinks=follow)
    st = os.stat(side.path(path), follow_symlinks=follow)
    return st.st_atime_ns, st.st_mtime_ns


def touch(side: Side, path: bytes) -> bool:
    os.utime(side.path(path))
    return abs(time.time() - os.stat(side.path(path)).st_mtime) < 1


def set_xattr(side: Side, path: bytes, name: str, value: bytes, flags: int) -> None:
    os.setxattr(side.path(path), name, value, flags)


def get_xattr(side: Side, path: bytes, name: str) -> bytes:
    return os.getxattr(side.path(path), name)


def list_xattrs(side: Side, path: bytes) -> list[str]:
    return sorted(os.listxattr(side.path(path)))


def remove_xattr(side: Side, path: bytes, name: str) -> None:
    os.removexattr(side.path(path), name)


def listdir(side: Side, path: bytes) -> list[bytes]:
    return sorted(os.listdir(side.path(path)))


def statvfs(side: Side, path: bytes) -> tuple[int, ...]:
    st = os.statvfs(side.path(path))
    return st.f_bsize, st.f_frsize, st.f_blocks, st.f_files, st.f_namemax


def open_and_close(side: Side, path: bytes, flags: int) -> None:
    os.close(os.open(side.path(path), flags))


def open_and_truncate(side: Side, path: bytes) -> None:
    open_and_close(side, path, os.O_WRONLY | os.O_TRUNC)


def append(side: Side, path: bytes, seed: int, length: int) -> int:
    return _write_once(side.path(path), os.O_APPEND, seed, length)


def overwrite(side: Side, path: bytes, seed: int, length: int) -> int:
    return _write_once(side.path(path), 0, seed, length)


def _write_once(path: bytes, flags: int, seed: int, length: int) -> int:
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        return os.write(fd, content(seed, length))
    finally:
        os.close(fd)


# Open files


def close(side: Side, number: int) -> None:
    os.close(side.fds.pop(number))


def dup(side: Side, number: int, of: int) -> None:
    side.put(number, os.dup(side.fds[of]))


def read(side: Side, number: int, length: int) -> tuple[int, str]:
    return digest(os.read(side.fds[number], length))


def pread(side: Side, number: int, offset: int, lengths: list[int]) -> tuple[int, str]:
    buffers = [bytearray(length) for length in lengths]
    got = os.preadv(side.fds[number], buffers, offset)
    return digest(b"".join(buffers)[:got])


def read_direct(side: Side, path: bytes, page: int) -> tuple[int, str]:
    fd = os.open(side.path(path), os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, mmap.PAGESIZE * 4) as aligned:
            got = os.preadv(fd, [aligned], page * mmap.PAGESIZE)
            return digest(aligned[:got])
    finally:
        os.close(fd)


def write(side: Side, number: int, seed: int, length: int) -> int:
    return os.write(side.fds[number], content(seed, length))


def pwrite(side: Side, number: int, offset: int, seed: int, lengths: list[int]) -> int:
    return os.pwritev(side.fds[number], [content(seed + at, length) for at, length in enumerate(lengths)], offset)


def lseek(side: Side, number: int, offset: int, whence: int) -> int:
    if stat.S_ISDIR(os.fstat(side.fds[number]).st_mode):
        offset, whence = 0, os.SEEK_SET  # in a directory only what it told itself is a place
    return os.lseek(side.fds[number], offset, whence)


def ftruncate(side: Side, number: int, size: int) -> None:
    os.ftruncate(side.fds[number], size)


def allocate(side: Side, number: int, offset: int, length: int) -> None:
    os.posix_fallocate(side.fds[number], offset, length)


def fstat(side: Side, number: int) -> tuple[Any, ...]:
    return shown(os.fstat(side.fds[number]))


def inode(side: Side, number: int) -> int:
    return os.fstat(side.fds[number]).st_ino


def fchmod(side: Side, number: int, mode: int) -> None:
    os.fchmod(side.fds[number], mode)


def fchown(side: Side, number: int, uid: int, gid: int) -> None:
    os.fchown(side.fds[number], uid, gid)


def futime(side: Side, number: int, atime_ns: int, mtime_ns: int) -> tuple[int, int]:
    os.utime(side.fds[number], ns=(atime_ns, mtime_ns))
    st = os.fstat(side.fds[number])
    return st.st_atime_ns, st.st_mtime_ns


def fset_xattr(side: Side, number: int, name: str, value: bytes) -> list[str]:
    os.setxattr(side.fds[number], name, value)
    return sorted(os.listxattr(side.fds[number]))


def fget_xattr(side: Side, number: int, name: str) -> bytes:
    return os.getxattr(side.fds[number], name)


def fsync(side: Side, number: int, data_only: bool) -> None:
    (os.fdatasync if data_only else os.fsync)(side.fds[number])


def list_open(side: Side, number: int) -> list[str]:
    fd = side.fds[number]
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.lseek(fd, 0, os.SEEK_SET)  # plain Btrfs goes on with what was there when it was opened, or began anew
    return sorted(os.listdir(fd))


def sendfile(side: Side, out: int, source: int, offset: int, count: int) -> int:
    return os.sendfile(side.fds[out], side.fds[source], offset, count)


def copy_range(side: Side, source: int, out: int, count: int, from_: int, to: int) -> int:
    return os.copy_file_range(side.fds[source], side.fds[out], count, from_, to)


def advise(side: Side, number: int, advice: int) -> None:
    os.posix_fadvise(side.fds[number], 0, 0, advice)


def flock(side: Side, number: int, operation: int) -> None:
    fcntl.flock(side.fds[number], operation | fcntl.LOCK_NB)


def record_lock(side: Side, number: int, kind: int, start: int, length: int, ofd: bool) -> None:
    command = 37 if ofd else fcntl.F_SETLK  # F_OFD_SETLK
    fcntl.fcntl(side.fds[number], command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def who_locks(side: Side, number: int, kind: int, start: int, length: int) -> int:
    asked = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    found: int = _FLOCK.unpack(fcntl.fcntl(side.fds[number], fcntl.F_GETLK, asked))[0]
    return found
