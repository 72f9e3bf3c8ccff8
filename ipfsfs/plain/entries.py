"""Names in the plain directory: each call takes the descriptor of a directory and one name in it.

One name, never a path, and never followed when it is a symlink: a directory that somebody swaps for a symlink cannot
take a call out of the tree (H35). All raise OSError as the system call does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from ipfsfs.plain import syscalls

_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_LIST: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def stat(dir_fd: int, name: bytes) -> os.stat_result:
    """The attributes of a name, of the link itself where it is one."""
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def look(dir_fd: int, name: bytes) -> int:
    """A descriptor that holds on to what the name stands for, without opening it."""
    return os.open(name, _LOOK, dir_fd=dir_fd)


def look_directory(dir_fd: int, name: bytes) -> int:
    """A descriptor of a subdirectory to make further calls by; ENOTDIR for all else, symlinks included."""
    return os.open(name, _DIRECTORY, dir_fd=dir_fd)


def open_listing(dir_fd: int, name: bytes) -> int:
    """A descriptor of a subdirectory to list and fsync."""
    return os.open(name, _LIST, dir_fd=dir_fd)


def listing(fd: int) -> list[bytes]:
    """All names in a directory as it is now, in the order the filesystem gives them. `fd` may be an O_PATH one."""
    return list(each(fd))


def each(fd: int) -> Iterator[bytes]:
    """The same, one name after the other.

    By a descriptor of its own, for on Btrfs one lists what was there when it was opened; it is closed with the
    iterator.
    """
    own = open_listing(fd, b".")
    try:
        with os.scandir(own) as names:
            for entry in names:
                yield os.fsencode(entry.name)
    finally:
        os.close(own)


def open_file(dir_fd: int, name: bytes, flags: int) -> int:
    """Open an existing regular file. Of the caller's flags only access mode, O_TRUNC and the sync flags matter here."""
    return os.open(name, flags | _OPEN, dir_fd=dir_fd)


def create(dir_fd: int, name: bytes, flags: int, mode: int) -> int:
    """Make a regular file that was not there, and open it."""
    return os.open(name, flags | os.O_CREAT | os.O_EXCL | _OPEN, mode, dir_fd=dir_fd)


def readlink(dir_fd: int, name: bytes) -> bytes:
    """The target of a symlink."""
    return os.readlink(name, dir_fd=dir_fd)


def mkdir(dir_fd: int, name: bytes, mode: int) -> None:
    """Make a directory."""
    os.mkdir(name, mode, dir_fd=dir_fd)


def mknod(dir_fd: int, name: bytes, mode: int, device: int) -> None:
    """Make a file of any type that mknod(2) makes."""
    os.mknod(name, mode, device, dir_fd=dir_fd)


def symlink(target: bytes, dir_fd: int, name: bytes) -> None:
    """Make a symlink."""
    os.symlink(target, name, dir_fd=dir_fd)


def link(src_fd: int, src: bytes, dst_fd: int, dst: bytes) -> None:
    """Give a file a second name."""
    os.link(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)


def unlink(dir_fd: int, name: bytes) -> None:
    """Remove a name that is no directory."""
    os.unlink(name, dir_fd=dir_fd)


def rmdir(dir_fd: int, name: bytes) -> None:
    """Remove an empty directory."""
    os.rmdir(name, dir_fd=dir_fd)


def rename(src_fd: int, src: bytes, dst_fd: int, dst: bytes, flags: int = 0) -> None:
    """Rename, atomically; `flags` are those of renameat2(2)."""
    if flags:
        syscalls.renameat2(src_fd, src, dst_fd, dst, flags)
    else:
        os.rename(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
