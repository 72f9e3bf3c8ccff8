"""One of two directories, what a process has open in it, and what is compared of a file."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import random
from dataclasses import dataclass


def content(seed: int, length: int) -> bytes:
    """The same bytes for the same seed, everywhere."""
    return random.Random(seed).randbytes(length)


def digest(data: bytes) -> tuple[int, str]:
    """What is compared of bytes that were read."""
    return len(data), hashlib.sha256(data).hexdigest()[:16]


@dataclass(slots=True, frozen=True)
class Mapping:
    """`length` bytes of a file from `offset` on. `file` names it, and does not keep it open."""

    address: int
    length: int
    offset: int
    file: int

    def left_at(self, at: int) -> int | None:
        """How many bytes the file has from there on; None in pages beyond its last one."""
        end = os.fstat(self.file).st_size - self.offset
        return max(0, end - at) if at < -(-end // mmap.PAGESIZE) * mmap.PAGESIZE else None


class Side:
    """One of the two directories, with the descriptors and mappings this process has in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = b""
        self.fds: dict[int, int] = {}
        self.maps: dict[int, Mapping] = {}

    def path(self, relative: bytes) -> bytes:
        return self.root + b"/" + relative if relative else self.root

    def put(self, number: int, fd: int) -> None:
        self.fds[number] = fd


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
