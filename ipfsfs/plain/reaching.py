"""What a path below the plain root leads to, and by which name."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain import syscalls

_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EINVAL)


@dataclass(slots=True, frozen=True)
class Reached:
    """A file: its path from the plain root, crossing no link, and what tells it and its content. Times in ns."""

    path: bytes
    dev: int
    ino: int
    born_ns: int
    size: int
    mtime_ns: int
    by_link: bool
    """Whether the path that was asked for is a symlink to it."""


def reach(root_fd: int, path: bytes) -> Reached | None:
    """The regular file that a path stands for, or that it is a relative symlink to; None where there is none within
    the plain directory. Raises OSError where that cannot be told."""
    found = _look(root_fd, path)
    if isinstance(found, bytes):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found))
        if target.startswith((b"/", b"../")):
            return None
        found = _look(root_fd, target, by_link=True)
    return found if isinstance(found, Reached) else None


def _look(root_fd: int, path: bytes, *, by_link: bool = False) -> Reached | bytes | None:
    """A regular file; the target of a symlink; None for all else."""
    try:
        fd = syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    try:
        st = os.fstat(fd)
        if stat.S_ISLNK(st.st_mode):
            return os.readlink(b"", dir_fd=fd)
        if not stat.S_ISREG(st.st_mode):
            return None
        return Reached(path, st.st_dev, st.st_ino, syscalls.birth_time_ns(fd), st.st_size, st.st_mtime_ns, by_link)
    finally:
        os.close(fd)
