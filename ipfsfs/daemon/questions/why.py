"""`why`: what a path is, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.exchange.why import Known, LeavesTold, Why, why

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Question(Asked[Why, NoProgress]):
    """What is at `path`, which is a path from the root and crosses no symlink?"""

    command: ClassVar[str] = "why"

    path: bytes = b""
    leaves: LeavesTold = "first"

    @staticmethod
    def replies() -> tuple[type[Why], type[NoProgress]]:
        """See `Asked`."""
        return Why, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Why:
        """See `Asked`. In a thread: the databases may be busy, and the disk slow. Raises as `why` does."""
        view, seals = running.view, running.view.seals
        await seals.flush()
        root = running.config.mountpoint
        loads = view.hydrating.loads
        origins = tuple(one.name for one in running.config.asked)
        known = Known(
            view.plain,
            root,
            seals.index,
            seals.ledger,
            seals.degraded,
            extents=loads.extents,
            origins=origins,
            provenance=loads.provenance if origins or running.config.site.peers is not None else None,
            unsealable=seals.unsealable,
            not_yet=view.upkeep.sealing.why_not_yet,
        )
        return await in_thread(why, known, self.path, self.leaves)
