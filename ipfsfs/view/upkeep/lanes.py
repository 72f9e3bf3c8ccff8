"""How many files are hashed at the same time, by their size: large ones never keep small ones waiting."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

_WAITING_MAX: Final = 1_000
"""Files of one lane that may wait for it while a walk goes on; of small ones, none may."""


@dataclass(slots=True, frozen=True)
class Width:
    """A lane for files of up to so many bytes, and how many of them are hashed at the same time."""

    size_max: float
    at_once: int


# Four jobs hide the pipe's latency with small files. The tables of a huge file take up to 64 MiB, several times over:
# one of them at a time.
WIDTHS: Final = (Width(64 << 20, 4), Width(64 << 30, 4), Width(math.inf, 1))
BACKGROUND_WIDTHS: Final = (Width(64 << 20, 2), Width(64 << 30, 2), Width(math.inf, 1))


def lane_of(size: int) -> int:
    """The number of the lane for a file of `size` bytes."""
    return next(number for number, width in enumerate(WIDTHS) if size <= width.size_max)


@dataclass(slots=True)
class _Lane:
    at_once: trio.CapacityLimiter
    waiting: trio.CapacityLimiter


@dataclass(slots=True)
class Lanes:
    """The lanes of one walk."""

    widths: tuple[Width, ...]
    _lanes: list[_Lane] = field(init=False)

    def __post_init__(self) -> None:
        self._lanes = [
            _Lane(trio.CapacityLimiter(width.at_once), trio.CapacityLimiter(_WAITING_MAX if number else width.at_once))
            for number, width in enumerate(self.widths)
        ]

    async def join(self, item: object, size: int) -> None:
        """Wait until `item` may wait for its lane. To be followed by `turn`."""
        await self._lanes[lane_of(size)].waiting.acquire_on_behalf_of(item)

    @asynccontextmanager
    async def turn(self, item: object, size: int) -> AsyncIterator[None]:
        """Wait for the lane, and have a place in it while the block runs."""
        lane = self._lanes[lane_of(size)]
        try:
            async with lane.at_once:
                yield
        finally:
            lane.waiting.release_on_behalf_of(item)
