"""The sealer as the daemon sees it: jobs to await, and processes that are kept alive behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field
from enum import IntEnum
from typing import Final, Literal

import trio

from ipfsfs.errors import SealerLost
from ipfsfs.identity import Identity
from ipfsfs.plain.tree import Found, Unreadable
from ipfsfs.unixfs.chunk import DEFAULT, Chunker
from ipfsfs.workers import wire
from ipfsfs.workers.awaited import Awaited, Waiting
from ipfsfs.workers.process import Process
from ipfsfs.workers.sealer import answers
from ipfsfs.workers.sealer.answers import Outcome
from ipfsfs.workers.sealer.outcome import (
    Busy,
    Changed,
    Digest,
    Failed,
    Gone,
    Sealed,
    Secret,
    Shared,
    Unfit,
    Verified,
)
from ipfsfs.workers.sealer.talk import SealerTalk
from ipfsfs.workers.start import Command
from ipfsfs.workers.wire import Header

_MODULE: Final = "ipfsfs.workers.sealer.worker"

Manners = Literal["polite", "prompt"]
"""Whether a process takes only what nobody else wants of processor and disk, or its share like everyone. One process
cannot be both: to become idle is anyone's right, to come back takes CAP_SYS_NICE."""


class Urgency(IntEnum):
    """How much a job may take from others. NOW: somebody waits, use the processor and disk like everyone. SOON: only
    what nobody else wants of them. IDLE: the same, after everything else."""

    NOW = 0
    SOON = 1
    IDLE = 2


@dataclass(slots=True, frozen=True)
class Reading:
    """What the sealer has read since it was started (bytes), how fast now (bytes a second), and what it reads now
    (empty when nothing)."""

    hashed: int
    rate: float
    path: bytes


@dataclass(slots=True)
class Walk:
    """What a walk finds, batch by batch: iterate over it. `unreadable`: directories that could not be listed so far."""

    _awaited: Awaited
    _waiting: Waiting
    unreadable: list[Unreadable] = field(default_factory=list)

    def __aiter__(self) -> Walk:
        return self

    async def __anext__(self) -> list[Found]:
        """The next batch. Raises SealerLost."""
        while not self._waiting.parts:
            if self._waiting.answer is not None:
                raise StopAsyncIteration
            if self._waiting.lost:
                raise SealerLost(self._waiting.lost)
            await self._waiting.changed.wait()
        batch = answers.decode_batch(self._waiting.parts.popleft())
        self._awaited.more(self._waiting)
        self.unreadable += [item for item in batch if isinstance(item, Unreadable)]
        return [item for item in batch if isinstance(item, Found)]


@dataclass(slots=True)
class _Running:
    """A sealing process and what is said to it and by it."""

    process: Process
    talk: SealerTalk

    @classmethod
    def of(cls, root_fd: int, manners: Manners, temporary: bytes) -> _Running:
        """A process for the plain root."""
        talk = SealerTalk()
        return cls(Process(Command("sealer", _MODULE, (root_fd,), (manners,), temporary), talk), talk)


@dataclass(slots=True)
class Sealer:
    """Jobs for the plain directory. Each may be cancelled; the process then drops it.

    All methods that wait raise SealerLost where the process died with the job; then they may be called again. There are
    two processes, each started when it is first needed: one that takes only what nobody else wants of processor and
    disk, and one for what somebody waits for.
    """

    _polite: _Running
    _prompt: _Running

    @property
    def state(self) -> str:
        """In words for `status`; empty while all is well."""
        return self._prompt.process.state or self._polite.process.state

    @property
    def pids(self) -> list[int]:
        """The processes that are there now."""
        return [pid for running in (self._polite, self._prompt) if (pid := running.process.pid) is not None]

    @property
    def reading(self) -> Reading:
        """What the processes are doing."""
        polite, prompt = self._polite.talk.speed, self._prompt.talk.speed
        (polite_rate, path), (prompt_rate, prompt_path) = polite.now, prompt.now
        return Reading(polite.total + prompt.total, polite_rate + prompt_rate, prompt_path or path)

    async def seal(
        self,
        path: bytes,
        ino: int | None = None,
        *,
        chunker: Chunker = DEFAULT,
        whole: bool = False,
        urgency: Urgency = Urgency.SOON,
    ) -> Sealed | Busy | Changed | Gone | Secret | Unfit | Failed:
        """Chunk and hash a file of the plain directory that nobody is writing; `whole`: also its sha2-256.

        `path` is from the plain root. With `ino`, only if that is its inode.
        """
        header = {"do": "seal", "path": wire.text(path), "ino": ino, "chunker": chunker, "whole": whole}
        outcome = await self._ask(self._for(urgency), {**header, "urgency": int(urgency)})
        assert not isinstance(outcome, Digest | Verified | Shared)
        return outcome

    async def digest(self, path: bytes, ino: int, expected: bytes = b"") -> Digest | Changed | Gone | Failed:
        """The sha2-256 of a whole file, at once, writers or not. Bytes that were followed are not read again,
        unless the result is not `expected`. What was hashed of a file is kept until `unfollow`, also when cancelled."""
        header = {"do": "digest", "path": wire.text(path), "ino": ino, "expected": expected.hex()}
        outcome = await self._ask(self._prompt, header)
        assert isinstance(outcome, Digest | Changed | Gone | Failed)
        return outcome

    def follow(self, ino: int, path: bytes, prefix: int) -> None:
        """Hash the first `prefix` bytes of a file that is growing. Call it after they were written. Never waits."""
        self._prompt.talk.grow(ino, path, prefix)

    def restart(self, ino: int) -> None:
        """Something below the prefix of a followed file was written again. Call it after that write. Never waits."""
        self._prompt.talk.restart(ino)

    def unfollow(self, ino: int) -> None:
        """The file is of no more interest. Never waits."""
        self._prompt.talk.end(ino)

    def make_way(self, seconds: float) -> None:
        """A worker is at work: rest for so long, with all but digests. Heeded for 5 s of 6 at most. Never waits."""
        self._polite.talk.hold(seconds)

    async def settle(self, path: bytes, identity: Identity) -> bool:
        """Have the file's bytes on disk; whether its identity is (still) this one, before and after."""
        header = {"do": "settle", "path": wire.text(path), "identity": astuple(identity)}
        answer, _ = await self._answer(self._polite, header)
        return answer.get("ok") is True

    async def verify(
        self,
        path: bytes,
        identity: Identity,
        *,
        sums: bytes,
        leaves: bytes | None,
        sha256: bytes = b"",
        urgency: Urgency = Urgency.NOW,
        progress: Callable[[int], None] | None = None,
    ) -> Verified | Gone | Failed:
        """Read a file again from disk and compare. `progress` is called with the bytes read so far; it must not raise.

        Where `leaves` is None the checksums alone are compared, in a small part of the time. With `sha256` the
        whole is compared with that too, which takes as long again as the leaves.
        """
        header: Header = {"do": "verify", "path": wire.text(path), "identity": astuple(identity)}
        header |= {"leaves": len(leaves) if leaves is not None else None, "sha256": sha256.hex()}
        outcome = await self._ask(self._for(urgency), header, (leaves or b"") + sums, progress)
        assert isinstance(outcome, Verified | Gone | Failed)
        return outcome

    async def read(
        self, path: bytes, ino: int, progress: Callable[[int], None] | None = None
    ) -> Verified | Gone | Failed:
        """Read a file again from disk that has nothing to be compared with: whether it can be read. Nothing is hashed.
        `progress` as for `verify`."""
        outcome = await self._ask(self._prompt, {"do": "read", "path": wire.text(path), "ino": ino}, b"", progress)
        assert isinstance(outcome, Verified | Gone | Failed)
        return outcome

    async def share(
        self, kept: Found, other: Found, do: Literal["share", "tell"] = "share", *, urgency: Urgency = Urgency.IDLE
    ) -> Shared | Busy | Changed | Gone | Failed:
        """Have two files of the same content, which nobody is writing, share their blocks; or "tell" how many bytes
        that would save. Failed with one of `plain.sharing.CANNOT` where the filesystem shares none."""
        header: Header = {"do": do, "path": wire.text(other.path), "identity": astuple(other.identity)}
        header |= {"kept": wire.text(kept.path), "kept_identity": astuple(kept.identity)}
        outcome = await self._ask(self._for(urgency), header)
        assert isinstance(outcome, Shared | Busy | Changed | Gone | Failed)
        return outcome

    @asynccontextmanager
    async def walk(self, prefix: bytes = b"", *, urgency: Urgency = Urgency.IDLE) -> AsyncIterator[Walk]:
        """All regular files below a directory of the plain root: `async with ... as walk: async for batch in walk`."""
        talk = self._for(urgency).talk
        waiting = talk.begin({"do": "walk", "path": wire.text(prefix)})
        try:
            yield Walk(talk.awaited, waiting)
        finally:
            talk.awaited.forget(waiting)

    def _for(self, urgency: Urgency) -> _Running:
        return self._prompt if urgency is Urgency.NOW else self._polite

    async def _ask(
        self, running: _Running, header: Header, blob: bytes = b"", progress: Callable[[int], None] | None = None
    ) -> Outcome:
        return answers.decode(*await self._answer(running, header, blob, progress))

    async def _answer(
        self, running: _Running, header: Header, blob: bytes = b"", progress: Callable[[int], None] | None = None
    ) -> tuple[Header, bytes]:
        waiting = running.talk.begin(header, blob, progress)
        try:
            return await running.talk.awaited.answer(waiting)
        finally:
            running.talk.awaited.forget(waiting)


@asynccontextmanager
async def open_sealer(root_fd: int, *, temporary: bytes = b"/") -> AsyncIterator[Sealer]:
    """A sealer for the plain directory that `root_fd` (O_PATH) is open to; its processes end with the block.

    `temporary` is their TMPDIR. To be entered from the main thread: they die with the thread that started them.
    """
    async with trio.open_nursery() as nursery:
        polite, prompt = _Running.of(root_fd, "polite", temporary), _Running.of(root_fd, "prompt", temporary)
        nursery.start_soon(polite.process.run)
        nursery.start_soon(prompt.process.run)
        yield Sealer(polite, prompt)
        nursery.cancel_scope.cancel()
