"""An origin that is left alone for a while when it does not answer, and whose answers are counted.

After a failure to reach it, it is not asked for a second, and twice as long after each further one, up to a minute, or
as long as it says itself. When that time is over one caller tries it, and the others are refused until the answer is
here. So while nothing can be reached, a caller learns that at once, and without a packet.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.http import CONNECTIONS_MAX
from ipfsfs.origins.origin import Busy, Origin

ANSWER_S: Final = 20.0
"""How long an origin may take for one block, before the next is asked: a connection, a search by Kubo and an answer, or
two leaves at the least rate that is borne. Three origins have their turn within a minute."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


@dataclass(slots=True)
class Counts:
    """What became of the questions. `blocks`, `bytes`: what the origin gave; `failures`: without those for NotHeld."""

    asked: int = 0
    blocks: int = 0
    bytes: int = 0
    failures: int = 0


@dataclass(slots=True, eq=False)
class Paused:
    """`origin`, with pauses. `trouble`: its last failure, empty once it answered. `answer_s`: for one question."""

    origin: Origin
    answer_s: float = ANSWER_S
    counts: Counts = field(default_factory=Counts)
    trouble: str = ""
    _slots: trio.Semaphore = field(default_factory=lambda: trio.Semaphore(CONNECTIONS_MAX), repr=False)
    _pause_s: float = 0.0
    _paused_at: float = -math.inf
    _asked_again_at: float = -math.inf
    _tried: bool = False

    @property
    def name(self) -> str:
        return self.origin.name

    @property
    def paused_s(self) -> float:
        """For how many seconds the origin is not asked; 0 where it is."""
        return max(0.0, self._asked_again_at - trio.current_time())

    async def block(self, cid: bytes) -> bytes:
        """The origin's block. Raises Unreachable, without asking, in a pause."""
        async with self.asking():
            block = await self.origin.block(cid)
        self.counts.blocks += 1
        self.counts.bytes += len(block)
        return block

    async def has(self, cid: bytes) -> bool:
        """What the origin says. Raises Unreachable, without asking, in a pause."""
        async with self.asking():
            return await self.origin.has(cid)

    async def aclose(self) -> None:
        await self.origin.aclose()

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[None]:
        """One question, and no more at once than there are connections: a wait for one is not the origin's fault."""
        self._refuse_in_a_pause()
        async with self._slots:
            self._refuse_in_a_pause()
            with self._timing():
                yield

    @contextmanager
    def _timing(self) -> Iterator[None]:
        """The question has its time, and how it ends decides on the next pause."""
        began, tries = trio.current_time(), self._pause_s > 0
        self._tried = self._tried or tries
        self.counts.asked += 1
        try:
            with trio.fail_after(self.answer_s):
                yield
            self._answered()
        except trio.TooSlowError:
            late = Unreachable(f"{self.name} gave no answer within {self.answer_s:g} s")
            self._failed(late, began)
            raise late from None
        except Unreachable as error:
            self._failed(error, began)
            raise
        except NotHeld:
            self._answered()
            raise
        except OriginError as error:  # it can be reached
            self._answered()
            self.trouble = str(error)
            self.counts.failures += 1
            raise
        finally:
            if tries:
                self._tried = False

    def _refuse_in_a_pause(self) -> None:
        if self._tried:
            raise Unreachable(f"{self.trouble} (being tried again)")
        if (left_s := self.paused_s) > 0:
            raise Unreachable(f"{self.trouble} (not asked again for {math.ceil(left_s)} s)")

    def _answered(self) -> None:
        self.trouble = ""
        self._pause_s = 0.0
        self._asked_again_at = -math.inf

    def _failed(self, error: Unreachable, began: float) -> None:
        """Pause. Questions that ran beside each other and fail together lengthen the pause once."""
        self.counts.failures += 1
        self.trouble = str(error)
        now = trio.current_time()
        if began >= self._paused_at:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) or FIRST_PAUSE_S
            self._paused_at = now
        asked_for_s = error.after_s if isinstance(error, Busy) else 0.0
        self._asked_again_at = max(self._asked_again_at, self._paused_at + self._pause_s, now + asked_for_s)
