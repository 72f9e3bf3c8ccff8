"""A sealer for a directory, in a test that is no coroutine, and files it will take."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import trio

from ipfsfs.workers.sealer.client import Sealer, open_sealer

T = TypeVar("T")


def with_sealer(root: Path, use: Callable[[Sealer], Awaitable[T]], *, within_s: float = 60) -> T:
    """Run `use` with a sealer for `root`; returns what it returns."""

    async def run() -> T:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        results: list[T] = []
        try:
            with trio.fail_after(within_s):
                async with open_sealer(root_fd) as sealer:
                    results.append(await use(sealer))
        finally:
            os.close(root_fd)
        return results[0]

    return trio.run(run)


def rest() -> None:
    """Let files become old enough to be sealed: a change within one tick of the clock does not show."""
    time.sleep(0.06)


def write(path: Path, data: bytes) -> Path:
    """A new file, already at rest."""
    path.write_bytes(data)
    rest()
    return path


def slow(path: Path, size: int) -> Path:
    """A new file, already at rest, that takes long to hash and little room: a byte in each MiB, so that no leaf of it
    is known to be zeros."""
    with path.open("wb", buffering=0) as file:
        file.truncate(size)
        for offset in range(0, size, 1 << 20):
            os.pwrite(file.fileno(), b"x", offset)
    rest()
    return path
