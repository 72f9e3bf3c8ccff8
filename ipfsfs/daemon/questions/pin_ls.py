"""`pin_ls`: the pins of a view's store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.exchange.pins import Listed, pins_of

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """All pins, the oldest first."""

    pins: tuple[Listed, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Which pins are there?"""

    command: ClassVar[str] = "pin_ls"

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`."""
        keeping = running.view.pinning.keeping
        return Answer(tuple(await pins_of(keeping.pins, keeping.kept)))
