"""Parts of files that are brought from the disk into memory, for whoever reads them there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass, field
from typing import Final

_PIPE: Final = 1 << 20
"""Bytes that go through a pipe at once, and what the disk is asked for at once: the most that users are allowed."""
_KEPT: Final = 4
"""Pipes that are kept for the next use. A user may have 64 of this size in all (`pipe-user-pages-soft`), and who has
had them gets very small ones: so most are made for one use, which takes ten microseconds."""
_END: Final = (1 << 63) - 1
"""No file is longer."""


@dataclass(slots=True)
class IntoMemory:
    """Brings parts of files into memory. All threads may use it.

    The pages go through a pipe to /dev/null, so that no byte is copied: to read them into a buffer that nobody wants
    was a quarter of what a cold READ cost. POSIX_FADV_WILLNEED would need no pipe. But it brings the file page by page,
    where reading and splicing bring large folios: half as fast, and to read those pages afterwards takes four times the
    processor's time (Linux 6.18, ext4).
    """

    _pipes: list[_Pipe] = field(default_factory=list)

    def bring(self, fd: int, offset: int, length: int) -> None:
        """Have a part of a file in memory, as far as it has that much, waiting for the disk.

        Raises OSError: that of the file, or that of a pipe which cannot be had."""
        try:
            pipe = self._pipes.pop()
        except IndexError:
            pipe = _Pipe.make()
        try:
            end = min(offset + length, _END)
            while offset < end and (came := os.splice(fd, pipe.into, end - offset, offset)):
                offset += came
                pipe.drop(came)
        except BaseException:  # what is left in it would be in the way of the next
            pipe.close()
            raise
        if len(self._pipes) < _KEPT:
            self._pipes.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Let go of what is kept."""
        while self._pipes:
            self._pipes.pop().close()


@dataclass(slots=True, frozen=True)
class _Pipe:
    out: int
    into: int
    nowhere: int

    @classmethod
    def make(cls) -> _Pipe:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if not stat.S_ISCHR(os.fstat(nowhere).st_mode):  # in some chroots it is a file, which would grow
                raise OSError(errno.ENODEV, "it is no device", os.devnull)
            made = cls(*os.pipe2(os.O_CLOEXEC), nowhere)
        except OSError:
            os.close(nowhere)
            raise
        try:
            fcntl.fcntl(made.into, fcntl.F_SETPIPE_SZ, _PIPE)
        except OSError:
            made.close()
            raise
        return made

    def drop(self, length: int) -> None:
        while length:
            gone = os.splice(self.out, self.nowhere, length)
            if not gone:
                raise OSError(errno.ENODATA, "what was read left memory at once")  # which is no error of the disk
            length -= gone

    def close(self) -> None:
        for fd in (self.out, self.into, self.nowhere):
            os.close(fd)
