"""The keeper as the daemon sees it: locks to be taken and let go of, and a process that is kept alive behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.workers import wire
from ipfsfs.workers.awaited import Awaited, Waiting
from ipfsfs.workers.process import Process
from ipfsfs.workers.start import Command
from ipfsfs.workers.wire import Header

_MODULE: Final = "ipfsfs.workers.keeper.program"
_SILENT_S: Final = 5.0
"""A keeper that has work and says nothing for so long hangs: its calls wait for this daemon only."""
_END_S: Final = 1.0
"""How long it may take to let go of everything, before it is ended."""


@dataclass(slots=True, eq=False)
class KeeperTalk:
    """The `Talk` of a keeping process, which is to run before there is work: to start one takes longer than a client's
    open may be held up."""

    awaited: Awaited = field(default_factory=lambda: Awaited(IpfsfsError))
    held: set[int] = field(default_factory=set)
    """The numbers of the jobs whose locks the process holds."""

    async def wait_for_work(self) -> None:
        """As `Talk`."""

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        while not self.awaited.outbox:
            await self.awaited.wake.wait()
            self.awaited.wake = trio.Event()
        return self.awaited.outbox.popleft()

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        self.awaited.take(header, blob)

    @property
    def silent_s(self) -> float:
        """As `Talk`."""
        return _SILENT_S

    @property
    def waits_for_us(self) -> bool:
        """As `Talk`."""
        return not self.awaited.any

    def ask_for_a_sign(self) -> None:
        """As `Talk`: it reads no request while it waits for a call."""

    def lose(self, why: str) -> None:
        """As `Talk`: the kernel has let go of its locks."""
        self.held.clear()
        self.awaited.lose(why)


@dataclass(slots=True, frozen=True)
class Keeper:
    """Holds locks on lock files of the view."""

    process: Process
    _talk: KeeperTalk

    async def keep(self, name: bytes) -> int | None:
        """Take the lock of the file at a name in the root of the view. Returns the number that `drop` takes; None where
        the lock is not free, or cannot be had. Not to be cancelled: a process that does not answer is ended."""
        if self.process.pid is None:
            return None
        with self._begun({"do": "keep", "name": wire.text(name)}) as waiting:
            if not await self._is_done(waiting):
                return None
        self._talk.held.add(waiting.number)
        return waiting.number

    def holds(self, number: int) -> bool:
        """Whether a lock that was taken is held still."""
        return number in self._talk.held

    async def drop(self, number: int) -> None:
        """Let go of a lock; returns when it is free. Not to be cancelled, as `keep`."""
        if number in self._talk.held:
            self._talk.held.discard(number)
            with self._begun({"do": "drop", "of": number}) as waiting:
                await self._is_done(waiting)

    async def drop_all(self) -> None:
        """Let go of all locks; returns when they are free. A process that takes longer than a second is ended."""
        self._talk.held.clear()
        if self.process.pid is None:
            return
        with self._begun({"do": "drop all"}) as waiting:
            with trio.move_on_after(_END_S):
                await self._is_done(waiting)
                return
            self.process.end()
            await self._is_done(waiting)

    @contextmanager
    def _begun(self, header: Header) -> Iterator[Waiting]:
        waiting = self._talk.awaited.begin(header)
        try:
            yield waiting
        finally:
            self._talk.awaited.forget(waiting)

    async def _is_done(self, waiting: Waiting) -> bool:
        """Wait for the answer to a job; false also where the process is gone, and all its locks with it."""
        try:
            header, _ = await self._talk.awaited.answer(waiting)
        except IpfsfsError:
            return False
        return header.get("so") is True


@asynccontextmanager
async def open_keeper(mountpoint: Path, *, temporary: bytes = b"/") -> AsyncIterator[Keeper]:
    """A keeper of a view that will be at a path; its process runs from now on, and ends with the block.

    To be entered from the main thread: the process dies with the thread that started it.
    """
    talk = KeeperTalk()
    process = Process(Command("keeper", _MODULE, (), (str(mountpoint),), temporary), talk)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.run)
        yield Keeper(process, talk)
        nursery.cancel_scope.cancel()
