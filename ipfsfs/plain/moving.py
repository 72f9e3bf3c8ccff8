"""Taking files out of the plain directory, and keeping a copy of what is about to change."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Final

from ipfsfs.plain import syscalls

_FICLONE: Final = 0x40049409
"""ioctl of `linux/fs.h`: share another file's blocks (XFS, Btrfs)."""
_COPIED: Final = 64 * 1024 * 1024
"""The largest file that is copied where blocks cannot be shared: about a tenth of a second."""


def move_out(dir_fd: int, name: bytes, target_fd: int, target: bytes) -> bool:
    """Move a file out of the plain directory to `target`, never over what is there.

    Returns False where the target lies on another filesystem: then it has to be copied and removed. Raises OSError.
    """
    try:
        syscalls.renameat2(dir_fd, name, target_fd, target, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EDQUOT, errno.ENOSPC):
            raise
        return False
    return True


def copy_out(source: int, open_new: Callable[[], int]) -> bool:
    """Copy an open file to what `open_new` opens, however long that takes; whether all of it is there."""
    try:
        _copy(source, open_new())
    except OSError:
        return False
    return True


def keep_copy(source: int, open_new: Callable[[], int]) -> bool:
    """Keep the content of an open file in what `open_new` opens: by sharing its blocks, or by a copy when it is small.

    Returns whether it was kept; never raises for want of room, since the worker's write goes first (H32).
    """
    target = -1
    try:
        target = open_new()
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        if target < 0 or os.fstat(source).st_size > _COPIED:
            return False
        try:
            _copy(source, os.dup(target))
        except OSError:
            return False
    finally:
        if target >= 0:
            os.close(target)
    return True


def _copy(source: int, target: int) -> None:
    try:
        at, size = 0, os.fstat(source).st_size
        while at < size:
            sent = os.copy_file_range(source, target, size - at, at, at)
            if sent == 0:
                break
            at += sent
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        at = 0
        while data := os.pread(source, 1 << 20, at):
            at += os.pwrite(target, data, at)
    finally:
        os.close(target)
