"""Files that share their blocks on disk (XFS, Btrfs): making them do so, and telling whether they do.

The kernel compares before it shares (`FIDEDUPERANGE`), with both files locked against writers: no content changes, and
no time of a file. Structures are those of `linux/fs.h` and `linux/fiemap.h`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Generator
from typing import Final

from ipfsfs.plain import quiet, syscalls

STEP: Final = 16 << 20
"""Bytes that are compared and shared with one call: Btrfs takes no more at a time."""

CANNOT: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.ENOSYS)
"""What is said where no blocks are shared, or not between these files."""

_SHARING: Final = (0x58465342, 0x9123683E, 0xCA451A4E)
"""XFS, Btrfs and bcachefs, by their numbers in `linux/magic.h`."""

_FIDEDUPERANGE: Final = 0xC0189436
_REQUEST: Final = struct.Struct("=QQHHI")  # offset, length, count of targets, reserved
_TARGET: Final = struct.Struct("=qQQiI")  # descriptor, offset, bytes shared, status, reserved
_DIFFERS: Final = 1

_FIEMAP: Final = 0xC020660B
_MAP: Final = struct.Struct("=QQIIII")  # start, length, flags, extents found, room for, reserved
_EXTENT: Final = struct.Struct("=QQQQQIIII")  # where in the file, where on disk, length, reserved, flags, reserved
_MAPPED: Final = 256
_UNKNOWN: Final = 0x2 | 0x4 | 0x200
"""Flags of an extent whose place on disk is not decided yet, or is shared with what is no block of its own."""

_Extent = tuple[int, int, int]
"""Where it begins in the file, where on disk, and its length; bytes."""


class Differs(OSError):
    """The two files do not hold the same bytes."""


def may_share(fd: int) -> bool:
    """Whether files of the filesystem that `fd` is open on may share blocks: of an XFS that was made without, only a
    try tells."""
    try:
        return syscalls.filesystem_type(fd) in _SHARING
    except OSError:
        return False


def share(source: int, target: int, size: int) -> Generator[int, None, int]:
    """Have an open file of `size` bytes share the blocks of another that holds the same: each may be open for reading
    only. Yields the bytes that were compared, step by step; returns how many are shared now that were not before.

    Raises Differs, and OSError: one of `CANNOT` where it cannot be done.
    """
    shared = 0
    for at in range(0, size, STEP):
        length = min(STEP, size - at)
        apart = _apart(source, target, at, length)
        if apart:
            with quiet.leaving_no_pages((source, target), at, length):
                _share(source, target, at, length)
            shared += apart
        yield length
    return shared


def apart(source: int, target: int, size: int) -> int:
    """How many bytes of two open files of `size` bytes lie in blocks of their own. Raises OSError."""
    return sum(_apart(source, target, at, min(STEP, size - at)) for at in range(0, size, STEP))


def _share(source: int, target: int, at: int, length: int) -> None:
    end = at + length
    while at < end:
        request = bytearray(_REQUEST.pack(at, end - at, 1, 0, 0) + _TARGET.pack(target, at, 0, 0, 0))
        fcntl.ioctl(source, _FIDEDUPERANGE, request)
        _, _, count, status, _ = _TARGET.unpack_from(request, _REQUEST.size)
        if status == _DIFFERS:
            raise Differs(errno.EBUSY, "the two files do not hold the same bytes")
        if status == -errno.EINVAL or (status == 0 and count == 0):  # ext4 and others that share nothing
            raise OSError(errno.EOPNOTSUPP, "blocks of it cannot be shared")
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        at += count


def _apart(source: int, target: int, at: int, length: int) -> int:
    """How many bytes of a part lie elsewhere on disk than those of the other file."""
    one, other = _extents(source, at, length), _extents(target, at, length)
    if one is None or other is None:
        return length
    same = sum(
        max(0, min(begin + size, begin2 + size2) - max(begin, begin2))
        for begin, disk, size in one
        for begin2, disk2, size2 in other
        if disk - begin == disk2 - begin2
    )
    holes = length - sum(size for _, _, size in one)
    return max(0, length - holes - same)


def _extents(fd: int, at: int, length: int) -> list[_Extent] | None:
    """Where a part of a file lies on disk; None where that is not decided yet, cannot be told, or is in many pieces."""
    request = bytearray(_MAP.pack(at, length, 0, 0, _MAPPED, 0)) + bytes(_MAPPED * _EXTENT.size)
    try:
        fcntl.ioctl(fd, _FIEMAP, request)
    except OSError:
        return None
    _, _, _, count, _, _ = _MAP.unpack_from(request)
    if count == _MAPPED:
        return None
    found: list[_Extent] = []
    for number in range(count):
        begin, disk, size, _, _, flags, *_ = _EXTENT.unpack_from(request, _MAP.size + number * _EXTENT.size)
        if flags & _UNKNOWN:
            return None
        first, last = max(begin, at), min(begin + size, at + length)
        found.append((first, disk + first - begin, last - first))
    return found
