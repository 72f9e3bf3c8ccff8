"""What a row of the benchmark is: a function that measures in one place, its lines in the table, and their aims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.bench.bench import At

PLAIN: Final = "plain"
BARE: Final = "bare"
VIEW: Final = "ipfsfs"
EVERYWHERE: Final = (PLAIN, BARE, VIEW)
MOUNTED: Final = (BARE, VIEW)

Done = tuple[float, float]
"""What a measured function answers: seconds, and how much was done in them (bytes for rates of bytes)."""


class Unit(Enum):
    """In what a line is measured: how it is written, and the amount that counts as one in a rate (0: no rate)."""

    SECONDS = ("s", 0)
    GB_PER_S = ("GB/s", 1e9)
    MB_PER_S = ("MB/s", 1e6)
    PER_S = ("per s", 1)
    MIB = ("MiB", 0)
    BYTES = ("bytes", 0)
    TIMES = ("times", 0)

    @property
    def text(self) -> str:
        return str(self.value[0])

    def of(self, done: Done) -> float:
        """The value of a measurement; where it is neither a time nor a rate, the amount itself."""
        seconds, amount = done
        if self is Unit.SECONDS:
            return seconds
        one = self.value[1]
        return amount / one / seconds if one else amount


@dataclass(frozen=True, slots=True)
class Aim:
    """What issue 5 asks of ipfsfs: the ratio to another place's value, or the value itself where `against` is None."""

    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def met(self, figure: float) -> bool:
        return figure >= self.at_least if self.at_least is not None else figure <= (self.at_most or 0.0)

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g}" + (f" × {self.against}" if self.against is not None else "")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `per` names what requests are counted by: one of what the amount counts."""

    name: str
    title: str
    unit: Unit
    aim: Aim | None = None
    per: str = "run"


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that are measured together. `needs` names what has to lie in the places (`tests.bench.material`).

    `rounds_most` bounds the rounds of what takes long.
    """

    measure: Callable[[At], None]
    lines: tuple[Line, ...]
    needs: tuple[str, ...] = ()
    places: tuple[str, ...] = EVERYWHERE
    rounds_most: int | None = None
