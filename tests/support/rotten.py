"""Files of which a part cannot be read: that part is an error in every way there is to read, and the rest is right."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

PAGE: Final = mmap.PAGESIZE


@dataclass(slots=True, frozen=True)
class Rotten:
    """What a file should contain, and from where to where it cannot be read: both are offsets of pages."""

    content: bytes
    start: int
    end: int

    @property
    def bad(self) -> list[int]:
        """The offsets of the pages that cannot be read."""
        return list(range(self.start, self.end, PAGE))

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """The offset and what should be the bytes of each page."""
        for offset in range(0, len(self.content), PAGE):
            yield offset, self.content[offset : offset + PAGE]


def by_pread(path: Path, rotten: Rotten) -> None:
    """Each page by a call of its own."""
    bad = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset, expected in rotten.pages():
            try:
                assert os.pread(fd, PAGE, offset) == expected
            except OSError as error:
                bad += [offset] * _is_eio(error)
    finally:
        os.close(fd)
    assert bad == rotten.bad


def by_read(path: Path, rotten: Rotten) -> None:
    """As a program reads that goes through the file in large steps, and over an error to what is behind it."""
    seen = bytearray()
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Input/output error"):
            read_on(fd, seen)
        assert seen == rotten.content[: rotten.start]
        os.lseek(fd, rotten.end, os.SEEK_SET)
        seen.clear()
        read_on(fd, seen)
        assert seen == rotten.content[rotten.end :]
    finally:
        os.close(fd)


def read_on(fd: int, seen: bytearray) -> None:
    """Read from where the file stands to its end, or to an error."""
    while data := os.read(fd, 300_000):
        seen += data


def by_mmap(path: Path, rotten: Rotten) -> None:
    """In children: a page that cannot be had is SIGBUS."""
    touch = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n"
    around = ((0, rotten.start), (rotten.end, len(rotten.content)))
    spans = "".join(f"sys.stdout.buffer.write(m[{start}:{end}])\n" for start, end in around)
    good = subprocess.run([sys.executable, "-c", touch + spans, path], capture_output=True, check=False)
    assert good.returncode == 0, good.stderr
    assert good.stdout == rotten.content[: rotten.start] + rotten.content[rotten.end :]
    for offset in (rotten.start, rotten.end - 1):
        bad = subprocess.run([sys.executable, "-c", touch + f"m[{offset}]", path], capture_output=True, check=False)
        assert bad.returncode == -signal.SIGBUS


def by_sendfile(path: Path, rotten: Rotten) -> None:
    """Each page, by the kernel, to a socket."""
    bad = []
    fd = os.open(path, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    try:
        for offset, expected in rotten.pages():
            try:
                assert os.sendfile(theirs.fileno(), fd, offset, PAGE) == len(expected)
            except OSError as error:
                bad += [offset] * _is_eio(error)
            else:
                assert ours.recv(2 * PAGE, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == expected
    finally:
        os.close(fd)
        ours.close()
        theirs.close()
    assert bad == rotten.bad


WAYS: Final[dict[str, Callable[[Path, Rotten], None]]] = {
    way.__name__: way for way in (by_pread, by_read, by_mmap, by_sendfile)
}


def _is_eio(error: OSError) -> bool:
    if error.errno != errno.EIO:
        raise error
    return True
