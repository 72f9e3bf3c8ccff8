"""`discard`: remove the extents of some roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.errors import StoreError
from ipfsfs.exchange.collect import Collecting
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

ROOTS_MOST = 500
"""Roots that one question can name."""


@dataclass(slots=True, frozen=True)
class Answer:
    """Extents and tables that were removed, and the bytes that they took on the disk; which of the roots are pinned, or
    are being read, so that theirs stay."""

    files: int
    bytes: int
    pinned: tuple[str, ...]
    in_use: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Remove what extents hold of `roots` (CIDs as text). What a pin holds stays."""

    command: ClassVar[str] = "discard"

    roots: tuple[str, ...] = ()

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises FormatError for what is no CID, StoreError."""
        view = running.view
        pins = view.seals.ledger.pins
        roots = {cid.from_text(root) for root in self.roots[:ROOTS_MOST]}
        try:
            removed = await Collecting(view.hydrating.loads.extents, view.hydrating.loads, pins.holds).discard(roots)
        except OSError as error:
            raise StoreError(f"the store's extents cannot be removed: {error.strerror}") from error
        pinned = sorted(cid.to_text(root) for root in roots if pins.holds(root))
        return Answer(
            removed.files, removed.size, tuple(pinned), tuple(sorted(cid.to_text(root) for root in removed.in_use))
        )
