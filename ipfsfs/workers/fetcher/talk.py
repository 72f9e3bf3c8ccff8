"""What is said to a fetching process, and what it says, while its jobs are awaited."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FetcherLost
from ipfsfs.origins.settings import HINTS_MAX
from ipfsfs.workers import wire
from ipfsfs.workers.awaited import Awaited
from ipfsfs.workers.fetcher.served import OriginState
from ipfsfs.workers.wire import Header

_SILENT_S: Final = 20.0
"""A fetcher that says nothing for so long, though it is asked to, hangs. Its loop waits for nothing but short work on a
disk; one that stalls for 10 seconds is no reason to fetch anew what is under way."""


@dataclass(slots=True, eq=False)
class FetcherTalk:
    """The `Talk` of a fetching process."""

    awaited: Awaited = field(default_factory=lambda: Awaited(FetcherLost))
    origins: tuple[OriginState, ...] = ()
    """How the origins fare, as the process told last."""
    _is_expected: bool = False
    """Whether there will soon be work."""
    _hints: list[bytes] = field(default_factory=list)
    _unsaid: list[bytes] = field(default_factory=list)
    """Hints that the process which runs was not told."""

    async def wait_for_work(self) -> None:
        """As `Talk`: also where work is expected."""
        while not self.awaited.outbox and not self._is_expected:
            await self._woken()
        self._is_expected = False
        self._unsaid = list(self._hints)

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        while not self.awaited.outbox and not self._unsaid:
            await self._woken()
        if self._unsaid:
            return wire.encode({"do": "hint", "id": 0}, self._unsaid.pop(0))
        return self.awaited.outbox.popleft()

    def hint(self, root: bytes) -> None:
        """Tell this process, and each that comes after it, of a root."""
        self._hints = [*(one for one in self._hints if one != root), root][-HINTS_MAX:]
        self._unsaid.append(root)
        self.awaited.wake.set()

    def expect(self) -> None:
        """Have a process started for work that there will soon be."""
        self._is_expected = True
        self.awaited.wake.set()

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        if "origins" in header:
            self.origins = tuple(OriginState(*state) for state in header["origins"])
        self.awaited.take(header, blob)

    @property
    def silent_s(self) -> float:
        """As `Talk`. The silence of origins it watches itself: it answers while it waits for them."""
        return _SILENT_S

    @property
    def waits_for_us(self) -> bool:
        """As `Talk`."""
        return not self.awaited.any

    def ask_for_a_sign(self) -> None:
        """As `Talk`."""
        self.awaited.post(wire.encode({"do": "sign", "id": 0}))

    def lose(self, why: str) -> None:
        """As `Talk`."""
        self.awaited.lose(why)

    async def _woken(self) -> None:
        await self.awaited.wake.wait()
        self.awaited.wake = trio.Event()
