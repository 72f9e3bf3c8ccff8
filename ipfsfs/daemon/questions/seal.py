"""`seal`: seal what has no seal below a path, and wait for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked
from ipfsfs.exchange.paths import see

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running
    from ipfsfs.view.upkeep import walking


@dataclass(slots=True, frozen=True)
class Progress:
    """Files and bytes to be sealed as far as they are known, and how many of them are done; `failed` of those are not
    sealed, because they are in use or cannot be read."""

    files: int
    files_done: int
    bytes: int
    bytes_done: int
    failed: int

    @classmethod
    def of(cls, progress: walking.TreeProgress) -> Progress:
        """As it is at this moment."""
        return cls(progress.files, progress.files_done, progress.bytes, progress.bytes_done, progress.failed)


@dataclass(slots=True, frozen=True)
class Answer(Progress):
    """How it was at the end, after how many `seconds`. `degraded` is empty, or says why no seals are kept;
    `open_for_writing` names the files of the whole view that a program could still write to, by their paths from the
    root."""

    seconds: float
    degraded: str
    open_for_writing: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Seal all below `path`, which is a path from the root and crosses no symlink."""

    command: ClassVar[str] = "seal"

    path: bytes = b""

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `see` does, and SealerLost where not all below could be found."""
        view = running.view
        os.close(see(view.plain, running.config.mountpoint, self.path))
        began = time.monotonic()
        at = await view.upkeep.sealing.seal_tree(self.path, background=False, report=lambda at: report(Progress.of(at)))
        await view.seals.flush()
        return Answer(
            files=at.files,
            files_done=at.files_done,
            bytes=at.bytes,
            bytes_done=at.bytes_done,
            failed=at.failed,
            seconds=round(time.monotonic() - began, 3),
            degraded=view.seals.degraded,
            open_for_writing=tuple(
                sorted(os.fsdecode(view.nodes.path(node)) for node in view.files.open_for_writing())
            ),
        )
