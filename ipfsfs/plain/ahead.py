"""Parts of files that are brought into memory before anybody asks for them."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

_PIPE: Final = 1 << 20
"""Bytes that go through the pipe at once, and what the disk is asked for at once: the most that users are allowed."""


@dataclass(slots=True)
class ReadAhead:
    """Brings parts of files into memory. A thread has one for itself.

    The pages go through a pipe to /dev/null, so that no byte is copied: to read them into a buffer that nobody wants
    was a quarter of what a cold READ cost. POSIX_FADV_WILLNEED would need no pipe. But it brings the file page by page,
    where reading and splicing bring large folios: half as fast, and to read those pages afterwards takes four times the
    processor's time (Linux 6.18, ext4).
    """

    _open: list[int] = field(default_factory=list)
    """Both ends of the pipe, and /dev/null; from the first use on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def bring(self, fd: int, offset: int, length: int) -> None:
        """Have a part of a file in memory, waiting for the disk. Raises OSError, also where no descriptor is left."""
        if not self._open:
            self._begin()
        out, into, nowhere = self._open
        end = offset + length
        while offset < end and (came := os.splice(fd, into, end - offset, offset)):
            offset += came
            while came:
                came -= os.splice(out, nowhere, came)

    def close(self) -> None:
        """Let go of the pipe."""
        while self._open:
            os.close(self._open.pop())

    def _begin(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._open = [*os.pipe2(os.O_CLOEXEC), nowhere]
        except OSError:
            os.close(nowhere)
            raise
        with suppress(OSError):  # a user who has many pipes: this one holds 64 KiB
            fcntl.fcntl(self._open[1], fcntl.F_SETPIPE_SZ, _PIPE)
