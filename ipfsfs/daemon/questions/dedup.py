"""`dedup`: keep the same content once below a path."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ipfsfs.daemon.questions.question import Asked
from ipfsfs.errors import StoreError
from ipfsfs.exchange.dedup import Dedup, Deduplicated, LeftAlone, Progress
from ipfsfs.exchange.paths import see

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """See `Deduplicated`."""

    files: int
    bytes: int
    copies: int
    copied_bytes: int
    shared: int
    linked: int
    saved: int
    below: int
    left: tuple[LeftAlone, ...]

    @classmethod
    def of(cls, done: Deduplicated) -> Answer:
        """What was done."""
        return cls(
            done.files, done.bytes, done.copies, done.copied_bytes, done.shared, done.linked, done.saved, done.below,
            tuple(done.left),
        )  # fmt: skip


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Keep what is sealed below `path`, which is a path from the root and crosses no symlink, once; with `dry_run` only
    say what that would do."""

    command: ClassVar[str] = "dedup"

    path: bytes = b""
    dry_run: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `see` does, StoreError and SealerLost."""
        view, seals = running.view, running.view.seals
        if seals.index is None:
            raise StoreError(
                f"it is not known which files are the same: {seals.degraded}",
                hint="Unmount and mount again: the index is made anew.",
            )
        os.close(see(view.plain, running.config.mountpoint, self.path))
        await seals.flush()
        do: Literal["share", "tell"] = "tell" if self.dry_run else "share"
        dedup = Dedup(running.sealer, seals.index, view.plain, view.nodes.root_place, view.linking, do, report)
        return Answer.of(await dedup.run(self.path))
