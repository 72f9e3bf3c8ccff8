"""`overview`: what is in the cache, for `ls` without arguments."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.errors import StoreError
from ipfsfs.exchange.overview import Known, Overview, overview

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Question(Asked[Overview, NoProgress]):
    """What is in the cache?"""

    command: ClassVar[str] = "overview"

    @staticmethod
    def replies() -> tuple[type[Overview], type[NoProgress]]:
        """See `Asked`."""
        return Overview, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Overview:
        """See `Asked`. In a thread, which lists the whole directory. Raises StoreError."""
        await running.view.seals.flush()
        return await in_thread(_overview, running)


def _overview(running: Running) -> Overview:
    view = running.view
    try:
        known = Known.of(view.hydrating.loads.extents, view.seals.index, view.seals.ledger)
    except OSError as error:
        raise StoreError(f"the store cannot be read: {error.strerror}") from error
    return overview(view.plain.fd, os.fsencode(running.config.mountpoint), known)
