"""Views over a filesystem that checks what it reads, where the kernel reads large sealed files itself. Needs root."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.metrics import Question
from tests.support.mounted import Mounted

NATIVE: Final = ("--check", "native", "--native-from", "1")
"""How a view is mounted where any file that holds a byte is native, as soon as it was sealed."""
CHECKED: Final = ("--check", "read", "--native-from", "1TB")
"""How a view is mounted where the daemon answers all reads, whatever the filesystem checks."""

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def counted(mount: Mounted, metric: str) -> float:
    """The value of a metric without labels."""
    return next(one.value for one in ask(mount.store, Question()).samples if one.name == metric)


def read_by_the_kernel(mount: Mounted, path: Path) -> bool:
    """Read a file, and say whether the kernel did so itself, and asked the daemon for none of it."""
    opens, reads = (counted(mount, f"ipfsfs_{what}_total") for what in ("native_opens", "reads"))
    path.read_bytes()
    asked = counted(mount, "ipfsfs_reads_total") - reads
    return counted(mount, "ipfsfs_native_opens_total") == opens + 1 and not asked


class Mapping:
    """A file's pages, mapped to be written as well where `writes`; its descriptor may be closed, which Python's own
    keeps a copy of."""

    def __init__(self, fd: int, size: int, *, writes: bool) -> None:
        self.size = size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writes else 0)
        self._at = _libc.mmap(None, size, protection, mmap.MAP_SHARED, fd, 0)
        assert self._at != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
        self.bytes = (ctypes.c_ubyte * size).from_address(self._at)

    def close(self) -> None:
        """Let go of the pages."""
        assert _libc.munmap(self._at, self.size) == 0
