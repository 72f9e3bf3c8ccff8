"""How pyfuse3's tasks take turns at the kernel's descriptor.

With trio's own lock and wait, every request costs a hand-over from task to task and two system calls of epoll: twice
what answering it costs. Here the task that has answered a request without waiting takes the next one itself, and looks
for it, for a moment, before it goes to sleep. pyfuse3 finds the parts of trio it uses under a name that may be
replaced, as its own asyncio module does; `install` puts these there.
"""

from __future__ import annotations

import select
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pyfuse3
import trio

from ipfsfs.fuse.replies import Replies

if TYPE_CHECKING:
    from ipfsfs.fuse.leading import Leading  # which answers errors as `answer` does, which awaits as this does

T = TypeVar("T")

_SOON_S: Final = 0.0001
"""A request that came this soon after the last answer makes it likely that the next one will, too."""
_IN_A_ROW: Final = 64
"""Requests answered without letting other tasks run."""
_REST_MS: Final = 1
"""How long the next request is waited for while a thread answers the last one; to wait by way of trio costs more than
to hand over a READ."""
_OTHERS_WAIT_S: Final = 0.002
"""How long other tasks may wait for that."""


@dataclass(slots=True)
class Turn:
    """The right to read the next request. Stands in for `trio.Lock`; whoever leaves it usually comes back at once, so
    nobody is woken for it, except by `pass_on` when a handler has to wait."""

    replies: Replies
    _taken: bool = False
    _waiting: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    async def __aenter__(self) -> None:
        if self.replies.send():
            _readiness.rest()
        while self._taken:
            await self._waiting.park()
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False

    def pass_on(self) -> None:
        """The task that had the turn is busy, or at its end: let another read."""
        if not self._taken:
            self._waiting.unpark()


@dataclass(slots=True)
class Readiness:
    """Stands in for `trio.lowlevel` where pyfuse3 waits for the descriptor."""

    leading: Leading | None = None
    _polled: int = -1
    _poll: Any = None
    _in_a_row: int = 0
    _soon: bool = False
    _resting: bool = False
    _others_ran: float = 0.0

    async def wait_readable(self, fd: int) -> None:
        """Return when there is a request to read, or the session is over."""
        if self.leading is not None and self.leading.is_due():
            request = await self.leading.lead()
            await trio.lowlevel.checkpoint_if_cancelled()
            if request is not None:
                _turn.replies.inject(request)
                return
        self._in_a_row += 1
        began = time.perf_counter()
        if self._in_a_row >= _IN_A_ROW or (self._resting and began - self._others_ran > _OTHERS_WAIT_S):
            self._in_a_row = 0
            await trio.lowlevel.checkpoint()
            self._others_ran = began = time.perf_counter()
        if self._resting:
            self._resting = False
            there = self._look(fd, _REST_MS)
        else:
            there = self._look(fd)
            while not there and self._soon and time.perf_counter() - began < _SOON_S:
                there = self._look(fd)
        while not there:  # a request is gone again if who made it is killed, and reading would then stop everything
            self._in_a_row = 0
            await trio.lowlevel.wait_readable(fd)
            self._others_ran = time.perf_counter()
            there = self._look(fd)
        self._soon = time.perf_counter() - began < _SOON_S

    def rest(self) -> None:
        """A thread answers the last request: whoever waits for that asks for nothing meanwhile, and soon for more."""
        self._resting = True

    def _look(self, fd: int, patience_ms: int = 0) -> bool:
        if fd != self._polled:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)
            self._polled = fd
        return bool(self._poll.poll(patience_ms))

    def __getattr__(self, name: str) -> Any:
        return getattr(trio.lowlevel, name)


@dataclass(slots=True)
class Loops:
    """Stands in for the nursery that pyfuse3 starts its loops in: one that ends lets the next read, or see that all is
    over."""

    _nursery: trio.Nursery

    def start_soon(self, loop: Callable[..., Awaitable[None]], *arguments: object, name: str) -> None:
        self._nursery.start_soon(self._run, loop, arguments, name=name)

    async def _run(self, loop: Callable[..., Awaitable[None]], arguments: tuple[object, ...]) -> None:
        try:
            await loop(*arguments)
        finally:
            _turn.replies.send()
            _turn.pass_on()


@asynccontextmanager
async def _open_nursery() -> AsyncIterator[Loops]:
    async with trio.open_nursery() as nursery:
        yield Loops(nursery)


_readiness: Final = Readiness()
_turn: Turn


def install(replies: Replies, leading: Leading | None = None) -> None:
    """Have pyfuse3 wait by way of this module, and `replies` sent on; before its loop is started."""
    global _turn
    _turn = Turn(replies)
    _readiness._polled = -1
    _readiness.leading = leading
    parts = types.SimpleNamespace(
        Lock=lambda: _turn,
        lowlevel=_readiness,
        ClosedResourceError=trio.ClosedResourceError,
        open_nursery=_open_nursery,
        from_thread=trio.from_thread,
    )
    pyfuse3.trio = parts  # type: ignore[attr-defined]  # it imports trio, and names no such attribute in its stubs


@types.coroutine
def passing_on(handler: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a handler; if it does not finish at once, let another task read meanwhile."""
    try:
        waited_for = handler.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    _turn.replies.restore()
    _turn.pass_on()
    try:
        while True:
            try:
                sent = yield waited_for
            except BaseException as error:  # whatever trio throws in is for the handler
                waited_for = handler.throw(error)
            else:
                waited_for = handler.send(sent)
    except StopIteration as finished:
        result = finished.value
        return result
