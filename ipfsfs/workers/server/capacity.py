"""How much is done at once: blocks that are in memory while they are read, compared and sent, CARs, long requests.

Who asks for one more waits for a moment, and is then told to come back. One address can take half of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

BLOCKS: Final = 48
"""Of at most 2 MiB each."""
CARS: Final = 8
BODIES: Final = 32
"""Of at most 1 MiB each."""
_WAITING_MOST: Final = 128
_WAIT_S: Final = 2.0


class TooBusy(Exception):
    """There is too much to do."""


@dataclass(slots=True)
class Capacity:
    """A number of places. `places`: how many there are."""

    places: int
    _taken: Counter[str] = field(default_factory=Counter)
    _waiting: int = 0
    _freed: trio.Event = field(default_factory=trio.Event)

    @asynccontextmanager
    async def place(self, host: str) -> AsyncIterator[None]:
        """Have a place while the block runs. Raises TooBusy."""
        if not self._is_free(host):
            await self._wait(host)
        self._taken[host] += 1
        try:
            yield
        finally:
            self._taken[host] -= 1
            if not self._taken[host]:
                del self._taken[host]
            self._freed.set()
            self._freed = trio.Event()

    def _is_free(self, host: str) -> bool:
        return self._taken.total() < self.places and self._taken[host] < max(1, self.places // 2)

    async def _wait(self, host: str) -> None:
        if self._waiting >= _WAITING_MOST:
            raise TooBusy
        self._waiting += 1
        try:
            with trio.move_on_after(_WAIT_S):
                while not self._is_free(host):
                    await self._freed.wait()
                return
            raise TooBusy
        finally:
            self._waiting -= 1
