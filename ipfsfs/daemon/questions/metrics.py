"""`metrics`: the values of all metrics, for `metrics`, `top` and what serves them to Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs import __version__
from ipfsfs.daemon.metrics.facts import gather
from ipfsfs.daemon.metrics.table import Sample, samples
from ipfsfs.daemon.questions.question import Asked, NoProgress

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """The values, in the order of the table."""

    samples: tuple[Sample, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """What are the values of all metrics?"""

    command: ClassVar[str] = "metrics"

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Never fails."""
        return Answer(tuple(samples(await gather(running, __version__))))
