"""Reading files without leaving traces: not in access times (H21), nor in what the page cache holds for others."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.plain import held, syscalls
from ipfsfs.plain.holes import Holes

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
            return _reopen(seen, os.O_RDONLY)
        except OSError as error:
            error.filename = path  # not the descriptor's name in /proc, by which it was opened
            raise
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
    _holes: Holes = field(init=False)
    _asked: int = 0
    """Up to here it is known what was resident, and the rest was asked for."""
    _brought: list[tuple[int, int]] = field(default_factory=list)
    """Spans (offset, length) that were not resident before."""

    def __post_init__(self) -> None:
        self._holes = Holes.of(self.fd, self.size)
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)
        self._ask_until(WINDOW)

    def hole_end(self, offset: int) -> int:
        """Where the hole at `offset` ends; `offset` itself where none is known there. What is in a hole, up to that
        end, need not be read. Raises OSError."""
        end = self._holes.end(offset)
        self._asked = max(self._asked, end - end % mmap.PAGESIZE)
        return end

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill `view` from `offset` on; fewer bytes only at the end of the file. Raises OSError."""
        self._ask_until(offset + len(view) + WINDOW)
        done = 0
        while done < len(view) and (count := os.preadv(self.fd, [view[done:]], offset + done)):
            done += count
        return done

    def release(self, end: int) -> None:
        """Everything before `end` has been read and is not needed again."""
        while self._brought:
            offset, length = self._brought[0]
            if offset + length > end:
                break
            del self._brought[0]
            os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_DONTNEED)

    def _ask_until(self, end: int) -> None:
        while self._asked < min(end, self.size):
            for offset, length in _missing(self.fd, self._asked, min(WINDOW, self.size - self._asked)):
                self._brought.append((offset, length))
                for at in range(offset, offset + length, _AHEAD):
                    os.posix_fadvise(self.fd, at, min(_AHEAD, offset + length - at), os.POSIX_FADV_WILLNEED)
            self._asked += WINDOW


@dataclass(slots=True)
class DirectFile:
    """An open regular file that is read from the disk, past the page cache, which keeps what it has."""

    fd: int
    _block: memoryview
    _holes: Holes

    @classmethod
    def beside(cls, fd: int, size: int) -> DirectFile | None:
        """The same file as `fd`, by a descriptor of its own; None where it cannot be had. Raises OSError."""
        try:
            own = _reopen(fd, os.O_RDONLY | os.O_DIRECT)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise
        if not syscalls.reads_directly(own):  # ext4 with data=journal, and of encrypted files
            os.close(own)
            return None
        direct = cls(own, memoryview(mmap.mmap(-1, mmap.PAGESIZE)), Holes.of(own, size))
        try:
            os.preadv(own, [direct._block], 0)
        except OSError as error:
            if error.errno == errno.EINVAL:
                direct.close()
                return None
        return direct

    def read_into(self, view: memoryview, offset: int) -> int:
        """As `QuietFile.read_into`; `view` and `offset` begin at a page."""
        whole = len(view) - len(view) % mmap.PAGESIZE
        done = 0
        while done < whole and (count := os.preadv(self.fd, [view[done:whole]], offset + done)):
            done += count
        if done < whole or whole == len(view):
            return done
        rest = min(os.preadv(self.fd, [self._block], offset + whole), len(view) - whole)
        view[whole : whole + rest] = self._block[:rest]
        return whole + rest

    def hole_end(self, offset: int) -> int:
        """As `QuietFile.hole_end`."""
        return self._holes.end(offset)

    def release(self, end: int) -> None:
        """As `QuietFile.release`: there is nothing to let go of."""

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


@contextmanager
def leaving_no_pages(fds: Sequence[int], offset: int, length: int) -> Iterator[None]:
    """What the block brings of a span of open files into the page cache leaves it again."""
    brought = [(fd, span) for fd in fds for span in _missing(fd, offset, length)]
    yield
    for fd, (at, count) in brought:
        os.posix_fadvise(fd, at, count, os.POSIX_FADV_DONTNEED)


def _reopen(fd: int, flags: int) -> int:
    try:
        return held.reopen(fd, flags | os.O_NOATIME)
    except PermissionError:
        return held.reopen(fd, flags)  # O_NOATIME is for owners


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
        first = at * mmap.PAGESIZE
        spans.append((start + first, min(end * mmap.PAGESIZE, length) - first))
        at = pages.find(0, end)
    return spans
