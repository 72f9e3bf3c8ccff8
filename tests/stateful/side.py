"""One of two directories, what a process has open in it, and what is compared of a file."""

from __future__ import annotations

import ctypes
import hashlib
import os
import random


def content(seed: int, length: int) -> bytes:
    """The same bytes for the same seed, everywhere."""
    return random.Random(seed).randbytes(length)


def digest(data: bytes) -> tuple[int, str]:
    """What is compared of bytes that were read."""
    return len(data), hashlib.sha256(data).hexdigest()[:16]


class Side:
    """One of the two directories, with the descriptors and mappings this process has in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root = b""
        self.fds: dict[int, int] = {}
        self.maps: dict[int, tuple[int, int]] = {}

    def path(self, relative: bytes) -> bytes:
        return self.root + b"/" + relative if relative else self.root

    def put(self, number: int, fd: int) -> None:
        self.fds[number] = fd


def checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
