"""`mount`, of a view that is mounted: what was it mounted with?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.config import Config
from ipfsfs.daemon.questions.question import Asked, NoProgress

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Question(Asked[Config, NoProgress]):
    """What was the daemon told when it was started?"""

    command: ClassVar[str] = "mounted_with"

    @staticmethod
    def replies() -> tuple[type[Config], type[NoProgress]]:
        """See `Asked`."""
        return Config, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Config:
        """See `Asked`. Never fails."""
        return running.config
