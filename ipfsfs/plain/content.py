"""The content of open files: reads that wait for the disk and reads that do not, truncation, fsync.

All take a descriptor and raise OSError as the system call does.
"""

from __future__ import annotations

import mmap
import os
import time
from contextlib import suppress
from typing import Final

from ipfsfs.plain import syscalls

_DAY_NS: Final = 86_400 * 1_000_000_000


def stat(fd: int) -> os.stat_result:
    """The attributes of an open file."""
    return os.fstat(fd)


def read(fd: int, buffer: memoryview, offset: int, flag: int) -> int:
    """Read into `buffer` with one call; returns how many bytes came. `flag`: RWF_NOWAIT or 0."""
    return os.preadv(fd, [buffer], offset, flag)


def read_whole(fd: int, start: int, want: int) -> bytes:
    """`want` bytes from `start`, fewer only at the end of the file."""
    data = os.pread(fd, want, start)
    if len(data) == want or not data:
        return data
    parts = [data]
    got = len(data)
    while got < want and (data := os.pread(fd, want - got, start + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def read_whole_into(fd: int, buffer: memoryview, start: int) -> int:
    """Fill `buffer` from `start`, waiting for the disk; how many bytes came, fewer only at the end of the file."""
    got = os.preadv(fd, [buffer], start)
    while 0 < got < len(buffer) and (more := os.preadv(fd, [buffer[got:]], start + got)):
        got += more
    return got


def in_memory(fd: int, offset: int, length: int) -> bool:
    """Whether a span can be read without waiting, for filesystems that cannot be asked to read without waiting.

    On tmpfs everything is in memory; a network's filesystem may let a read of what is not wait for ever.
    """
    first = offset - offset % mmap.PAGESIZE
    length = min(offset + length, os.fstat(fd).st_size) - first
    try:
        return length <= 0 or 0 not in syscalls.resident_pages(fd, first, length)
    except OSError:
        return False


def truncate(fd: int, size: int) -> None:
    """Cut or extend a file that is open for writing."""
    os.ftruncate(fd, size)


def sync(fd: int, *, data_only: bool) -> None:
    """Have the content on disk; with `data_only` without times that nobody needs to read it."""
    (os.fdatasync if data_only else os.fsync)(fd)


def count_as_access(fd: int, st: os.stat_result) -> None:
    """Set a file's access time as the filesystem's own rule (relatime) would at a read (H21).

    Reads that the kernel answers from its cache never reach the file. Mapping it does what reading it does to its
    access time, without reading, and without the new ctime that setting the time would bring.
    """
    if st.st_size and (
        st.st_atime_ns <= st.st_mtime_ns
        or st.st_atime_ns <= st.st_ctime_ns
        or time.time_ns() - st.st_atime_ns > _DAY_NS
    ):
        with suppress(OSError):  # some filesystems map no file: theirs keep no time of access either, then
            mmap.mmap(fd, 1, mmap.MAP_SHARED, mmap.PROT_READ).close()
