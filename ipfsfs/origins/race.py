"""One block, asked of several machines: each once the one before it fails or is slow for what is usual."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import trio

from ipfsfs.errors import NotHeld, OriginError, Said, Unreachable
from ipfsfs.origins.ordered import Given
from ipfsfs.origins.peer import Peer
from ipfsfs.unixfs import cid as cids

_BLOCKS: Final = 32
"""Blocks by which is known how long one takes."""
_MOST_S: Final = 10.0
_TIMES: Final = 4.0
_LOOKED_S: Final = 0.25
_ALIVE: Final = 2.0
"""How many times longer a machine is waited for that answers other questions: it has much to do, or gets the block."""


class Candidate(NamedTuple):
    """Who can be asked for a block, and how that is done."""

    peer: Peer
    ask: Callable[[], Awaitable[bytes]]


class LastResort(Protocol):
    """Who is asked where machines do not give a block, or not soon."""

    def is_due(self) -> bool:
        """Whether it is to be asked at this moment, though a machine may still answer. Asked four times a second."""

    async def ask(self) -> Given:
        """The block. Raises OriginError."""


@dataclass(slots=True)
class Usual:
    """How long a block has taken of late. Another machine is asked as well for one that takes several times that, at
    least `least_s`, and `first_s` while nothing is known; the last resort after `last_s`.

    Many machines that load a file at once wait for each other at the link of each leaf's owner, and to ask others as
    well makes that worse: a machine that is alive is waited for longer. One that is gone costs this once.
    """

    first_s: float
    least_s: float
    last_s: float
    _took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_BLOCKS))

    def add(self, took_s: float) -> None:
        """A block has come."""
        self._took_s.append(took_s)

    @property
    def patience_s(self) -> float:
        """After how long another machine is asked as well."""
        if len(self._took_s) < _BLOCKS // 4:
            return self.first_s
        return min(max(_TIMES * statistics.median(self._took_s), self.least_s), _MOST_S)


async def first(
    cid: bytes, candidates: Sequence[Candidate], usual: Usual, last_resort: LastResort | None = None
) -> Given:
    """The first block that comes of these. The last resort is asked where all have failed, or nothing came for long.

    Raises NotHeld where none has it, else Unreachable; with what each said.
    """
    race = _Race(usual)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        if last_resort is not None:
            await nursery.start(race.watch, last_resort, nursery.cancel_scope)
        for candidate in candidates:
            failed = trio.Event()
            nursery.start_soon(race.ask, candidate, failed, nursery.cancel_scope)
            patience_s = usual.patience_s
            with trio.move_on_after(patience_s):
                await failed.wait()
            if not failed.is_set() and await candidate.peer.is_alive():
                with trio.move_on_after(_ALIVE * patience_s):
                    await failed.wait()
        if last_resort is not None:
            with trio.move_on_at(began + usual.last_s):
                await race.nobody()
            race.last_is_due.set()
    if race.given is None:
        raise race.failure(cid)
    return race.given


@dataclass(slots=True)
class _Race:
    """What has come of asking. `running`: who is asked, since when."""

    usual: Usual
    given: Given | None = None
    running: dict[Peer, float] = field(default_factory=dict)
    last_is_due: trio.Event = field(default_factory=trio.Event)
    _said: list[tuple[str, OriginError]] = field(default_factory=list)
    _changed: trio.Event = field(default_factory=trio.Event)

    async def ask(self, candidate: Candidate, failed: trio.Event, scope: trio.CancelScope) -> None:
        """Ask a machine; its block ends the race."""
        peer, began = candidate.peer, trio.current_time()
        self.running[peer] = began
        try:
            block = await candidate.ask()
        except OriginError as error:
            self._said.append((peer.name, error))
            failed.set()
            return
        finally:
            self.running.pop(peer, None)
            self._changed.set()
        now = trio.current_time()
        self.usual.add(now - began)
        for slower, since in self.running.items():
            if since <= began:  # asked before, and not here yet
                slower.standing.rate.at_most(len(block) / max(now - since, 0.001), now)
        self._won(Given(block, peer.name, self._refused), scope)

    async def watch(
        self, last_resort: LastResort, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
    ) -> None:
        """Ask the last resort once that is due."""
        task_status.started()
        while not self.last_is_due.is_set() and not last_resort.is_due():
            with trio.move_on_after(_LOOKED_S):
                await self.last_is_due.wait()
        try:
            given = await last_resort.ask()
        except OriginError as error:
            self._said.append(("hub", error))
        else:
            self._won(given, scope)

    async def nobody(self) -> None:
        """Return when nobody is being asked."""
        await trio.lowlevel.checkpoint()
        while self.running:
            self._changed = trio.Event()
            await self._changed.wait()

    def failure(self, cid: bytes) -> OriginError:
        """One error for what all said."""
        kind = Unreachable if any(error.retry for _, error in self._said) else NotHeld
        words = "; ".join(dict.fromkeys(str(error) for _, error in self._said)) or "there is none to be asked"
        return kind(f"no peer gives {cids.to_text(cid)}: {words}", said=self._refused)

    @property
    def _refused(self) -> tuple[Said, ...]:
        return tuple(Said(name, str(error)) for name, error in self._said)

    def _won(self, given: Given, scope: trio.CancelScope) -> None:
        self.given = self.given or given
        scope.cancel()
