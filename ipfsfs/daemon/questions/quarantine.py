"""`quarantine`: what lies there, and removing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.exchange import kept_aside
from ipfsfs.exchange.kept_aside import Aside

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """What lies in the quarantine, the oldest first, or what was removed of it; how many bytes are taken on disk by
    what is there now, and may be."""

    items: tuple[Aside, ...]
    size: int
    limit: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """What lies in the quarantine? With names in `remove`, or with `remove_all`: remove that."""

    command: ClassVar[str] = "quarantine"

    remove: tuple[str, ...] = ()
    remove_all: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises UsageError for a name that is not there, StoreError."""
        return await in_thread(self.look, running)

    def look(self, running: Running) -> Answer:
        """The same, waiting for the disk."""
        view = running.view
        items, usage = kept_aside.look(
            running.quarantine, view.plain, view.seals.ledger.findings, self.remove, remove_all=self.remove_all
        )
        return Answer(items, usage.size, usage.limit)
