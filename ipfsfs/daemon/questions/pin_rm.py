"""`pin_rm`: remove a pin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.errors import UsageError
from ipfsfs.printed import command
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """How many bytes the disk got back at once."""

    freed: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Remove the pin of a CID."""

    command: ClassVar[str] = "pin_rm"

    root: str = ""

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises UsageError where that CID is not pinned."""
        freed = await running.view.pinning.remove(cid.from_text(self.root))
        if freed is None:
            raise UsageError(f"{self.root} is not pinned", hint=f"To list the pins: {command('pin ls')}")
        return Answer(freed)
