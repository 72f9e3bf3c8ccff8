"""Reading files without leaving traces: not in access times (H21), nor in what the page cache holds for others."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.plain import held, syscalls

WINDOW: Final = 2 << 20
"""Bytes that are read ahead, and dropped again, at a time."""

_AHEAD: Final = 128 << 10
"""The kernel reads ahead no more than this on some disks, however much is asked for at a time."""


def open_regular(root_fd: int, path: bytes) -> int:
    """Open a regular file below `root_fd` for reading, crossing no symlink; nothing else is ever opened.

    Raises OSError: EISDIR, ELOOP or EINVAL for what is no regular file, EAGAIN where somebody holds a lease on it.
    """
    seen = syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        kind = stat.S_IFMT(os.fstat(seen).st_mode)
        if kind != stat.S_IFREG:
            code = {stat.S_IFDIR: errno.EISDIR, stat.S_IFLNK: errno.ELOOP}.get(kind, errno.EINVAL)
            raise OSError(code, os.strerror(code), path)
        try:
            return held.reopen(seen, os.O_RDONLY | os.O_NOATIME)
        except PermissionError:
            return held.reopen(seen, os.O_RDONLY)  # O_NOATIME is for owners
    finally:
        os.close(seen)


@dataclass(slots=True)
class QuietFile:
    """An open regular file that is read from front to back. What was not in the page cache before leaves it again.

    The kernel's own readahead is off, for it would make pages look as if somebody else had wanted them: what comes next
    is looked at first, and asked for then. The descriptor stays the caller's.
    """

    fd: int
    size: int
    _asked: int = 0
    """Up to here it is known what was resident, and the rest was asked for."""
    _brought: list[tuple[int, int]] = field(default_factory=list)
    """Spans (offset, length) that were not resident before."""

    def __post_init__(self) -> None:
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset` on; fewer bytes only at the end of the file. Raises OSError."""
        while self._asked < min(offset + len(view) + WINDOW, self.size):
            self._ask(self._asked, min(WINDOW, self.size - self._asked))
            self._asked += WINDOW
        done = 0
        while done < len(view) and (count := os.preadv(self.fd, [view[done:]], offset + done)):
            done += count
        return done

    def release(self, end: int) -> None:
        """Everything before `end` has been read and is not needed again."""
        while self._brought and sum(self._brought[0]) <= end:
            offset, length = self._brought.pop(0)
            os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_DONTNEED)

    def _ask(self, start: int, length: int) -> None:
        for offset, span in _missing(self.fd, start, length):
            self._brought.append((offset, span))
            for at in range(offset, offset + span, _AHEAD):
                os.posix_fadvise(self.fd, at, min(_AHEAD, offset + span - at), os.POSIX_FADV_WILLNEED)


def _missing(fd: int, start: int, length: int) -> list[tuple[int, int]]:
    """The spans (offset, length) that are not in the page cache; none where that cannot be told."""
    try:
        pages = syscalls.resident_pages(fd, start, length)
    except OSError:
        return []
    spans = []
    at = pages.find(0)
    while at >= 0:
        end = pages.find(1, at)
        end = len(pages) if end < 0 else end
        spans.append((start + at * mmap.PAGESIZE, (end - at) * mmap.PAGESIZE))
        at = pages.find(0, end)
    return spans
