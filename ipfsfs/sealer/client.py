"""The sealer as the daemon sees it: jobs to await, and a process that is kept alive behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import trio

from ipfsfs.plain.identity import Identity
from ipfsfs.sealer.outcome import Busy, Changed, Digest, Failed, Gone, Sealed, Secret, Verified


class Urgency(IntEnum):
    """How much a job may take from others. NOW: somebody waits, use the processor and disk like everyone. SOON: only
    what nobody else wants of them. IDLE: the same, after everything else."""

    NOW = 0
    SOON = 1
    IDLE = 2


@dataclass(slots=True, frozen=True)
class Found:
    """A regular file that a walk came across. Times in ns; `path` from the plain root."""

    path: bytes
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    born_ns: int


@dataclass(slots=True, frozen=True)
class Progress:
    """What the sealer has read since it was started (bytes), how fast now (bytes a second), and what it reads now
    (empty when nothing)."""

    hashed: int
    rate: float
    path: bytes


class Sealer:
    """All methods that wait raise SealerLost where the process died with the job; then they may be called again."""

    @property
    def state(self) -> str:
        """In words for `status`; empty while all is well."""
        raise NotImplementedError

    @property
    def progress(self) -> Progress:
        """What the process is doing."""
        raise NotImplementedError

    async def seal(
        self,
        path: bytes,
        ino: int | None = None,
        *,
        chunker: Literal["auto", "fixed"] = "auto",
        whole: bool = False,
        urgency: Urgency = Urgency.SOON,
    ) -> Sealed | Busy | Changed | Gone | Secret | Failed:
        """Chunk and hash a file of the plain directory that nobody is writing; `whole`: also its sha2-256."""
        raise NotImplementedError

    async def digest(self, path: bytes, ino: int, expected: bytes = b"") -> Digest | Changed | Gone | Failed:
        """The sha2-256 of a whole file, at once, writers or not. Bytes that were followed are not read again,
        unless the result is not `expected`."""
        raise NotImplementedError

    def follow(self, ino: int, path: bytes, prefix: int) -> None:
        """Hash the first `prefix` bytes of a file that is growing. Call it after they were written. Never waits."""
        raise NotImplementedError

    def restart(self, ino: int) -> None:
        """Something below the prefix of a followed file was written again. Call it after that write."""
        raise NotImplementedError

    def unfollow(self, ino: int) -> None:
        """The file is of no more interest."""
        raise NotImplementedError

    async def settle(self, path: bytes, identity: Identity) -> bool:
        """Have the file's bytes on disk; whether its identity is (still) this one, before and after."""
        raise NotImplementedError

    async def verify(
        self,
        path: bytes,
        identity: Identity,
        *,
        sums: bytes,
        leaves: bytes,
        sha256: bytes = b"",
        urgency: Urgency = Urgency.NOW,
        progress: Callable[[int], None] | None = None,
    ) -> Verified | Gone | Failed:
        """Read a file again from disk and compare. `progress` is called with the bytes read so far."""
        raise NotImplementedError

    @asynccontextmanager
    async def walk(
        self, prefix: bytes = b"", *, urgency: Urgency = Urgency.IDLE
    ) -> AsyncIterator[trio.MemoryReceiveChannel[list[Found]]]:
        """All regular files below a directory of the plain root, in batches: `async with ... as batches: async for`."""
        raise NotImplementedError
        yield


@asynccontextmanager
async def open_sealer(root_fd: int, *, temporary: bytes = b"/") -> AsyncIterator[Sealer]:
    """A sealer for the plain directory that `root_fd` (O_PATH) is open to; its process ends with the block."""
    raise NotImplementedError
    yield Sealer()
