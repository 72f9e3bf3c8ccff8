"""Taking files out of the plain directory, and copying what they hold."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ipfsfs.plain import syscalls

_FICLONE: Final = 0x40049409
"""ioctl of `linux/fs.h`: share another file's blocks (XFS, Btrfs)."""
_COPIED: Final = 64 * 1024 * 1024
"""The largest file that is copied where blocks cannot be shared: about a tenth of a second."""
_STEP: Final = 1 << 20
_PART: Final = 128 << 10
"""What is given up of a file where the disk refuses to read any of it."""
_BLOCK: Final = 4096
"""What XFS and Btrfs share whole ones of. Where their blocks are larger, parts are copied."""
_NOT_BY_KERNEL: Final = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def move(source_fd: int, name: bytes, target_fd: int, target: bytes) -> None:
    """Move a file to a new name, in this or another directory. Raises OSError: EEXIST where the name is taken, EXDEV
    where the directories lie on different filesystems."""
    try:
        syscalls.renameat2(source_fd, name, target_fd, target, syscalls.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what NFS and others say that know no flags
            raise
        with suppress(FileNotFoundError):
            os.stat(target, dir_fd=target_fd, follow_symlinks=False)
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(name, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def copy(source: int, target: int) -> None:
    """Copy an open file into an empty one, holes as holes, however long that takes.

    Raises OSError; EBUSY where the source was changed meanwhile, so that the copy may be of no state it ever had.
    """
    before = os.fstat(source)
    os.ftruncate(target, before.st_size)
    for start, end in _data(source, before.st_size):
        _copy_span(source, target, start, end)
    after = os.fstat(source)
    if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    ):
        raise OSError(errno.EBUSY, "it was changed while it was copied")


def copy_what_can_be_read(source: int, target: int) -> None:
    """Copy an open file into an empty one, with holes where the disk refuses to read. No block is shared: the refused
    ones would be, too. Raises OSError, and never EIO of the source."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_RANDOM)  # what is read ahead of a refused part fails with it
    for at in range(0, size, _PART):
        try:
            data = os.pread(source, min(_PART, size - at), at)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        else:
            os.pwrite(target, data, at)


def copy_at_once(source: int, target: int) -> None:
    """The same in a tenth of a second or so: by sharing the source's blocks, else by a copy when it is small.

    Raises OSError; EFBIG where neither can be done.
    """
    if not share(source, target):
        if os.fstat(source).st_size > _COPIED:
            raise OSError(errno.EFBIG, "it is too large to be copied while a program waits")
        copy(source, target)


def share(source: int, target: int) -> bool:
    """Have an open, empty file share all blocks of another; returns False where the filesystem cannot.

    Raises OSError where the disk is full.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.EDQUOT, errno.ENOSPC):
            raise
        return False
    return True


def copy_part(source: int, source_at: int, target: int, target_at: int, length: int) -> None:
    """Copy a part of an open file into another; whole blocks of it are shared where the filesystem can do that.

    Raises OSError; EBUSY where the source ends before the part does.
    """
    end = source_at + length
    if source_at % _BLOCK == target_at % _BLOCK:
        # Only what begins and ends with a block can be shared: the rest is copied.
        begin = min(-(-source_at // _BLOCK) * _BLOCK, end)
        last = max(end if end == os.fstat(source).st_size else end // _BLOCK * _BLOCK, begin)
        parts = [(source_at, begin), (begin, last), (last, end)]
    else:
        parts = [(source_at, end)]
    for at, until in parts:
        _copy_span(source, target, at, until, target_at - source_at)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The spans (start, end) of an open file that are not holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end


def _copy_span(source: int, target: int, at: int, end: int, shift: int = 0) -> None:
    """From one file into another, where it lies `shift` bytes further on."""
    while at < end:
        try:
            count = os.copy_file_range(source, target, end - at, at, at + shift)
        except OSError as error:
            if error.errno not in _NOT_BY_KERNEL:
                raise
            count = os.pwrite(target, os.pread(source, min(_STEP, end - at), at), at + shift)
        if count == 0:
            raise OSError(errno.EBUSY, "it was cut while it was copied")
        at += count
