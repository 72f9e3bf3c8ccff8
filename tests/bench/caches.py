"""The page cache, one file at a time, and never believed: after a drop the pages are looked for.

Dropping single files needs no root, and leaves the interpreter and everybody else's files where they are.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import Final

from ipfsfs.plain import syscalls
from ipfsfs.plain.buffers import page_aligned

_libc = ctypes.CDLL(None, use_errno=True)

_TRIES: Final = 50


def write_back(directory: Path) -> None:
    """Wait until what was written is on the disk of this filesystem. sync(2) would wait for all others as well."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs failed for {directory}")
    finally:
        os.close(fd)


def warm(file: Path) -> None:
    """Have all of a file in the page cache of the filesystem that `file` names it on."""
    fd = os.open(file, os.O_RDONLY)
    try:
        buffer = page_aligned(1 << 20)
        while os.readv(fd, [buffer]):
            pass
    finally:
        os.close(fd)


def drop(file: Path) -> None:
    """Have nothing of a file in that page cache. Raises RuntimeError where something stays: it is dirty, or mapped."""
    fd = os.open(file, os.O_RDONLY)
    try:
        for _ in range(_TRIES):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            left = sum(syscalls.resident_pages(fd, 0, os.fstat(fd).st_size))
            if not left:
                return
            time.sleep(0.02)
    finally:
        os.close(fd)
    raise RuntimeError(f"{left} pages of {file} stay in the cache: nothing measured now would be cold")
