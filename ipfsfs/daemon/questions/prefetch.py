"""`prefetch`: have all below a path here, as ordinary files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ipfsfs.daemon.questions.question import Asked, in_thread
from ipfsfs.daemon.questions.verify import missing_below
from ipfsfs.exchange.paths import see

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running
    from ipfsfs.view.outcomes import Brought

_NAMED_MOST: Final = 1_000
_MISSING: Final = "it is not there, though links lead to it: only `restore` can have it again"


@dataclass(slots=True, frozen=True)
class Progress:
    """Files and bytes that were not here, and how much of them is by now; `failed` of those files could not be had."""

    files: int
    files_done: int
    bytes: int
    bytes_done: int
    failed: int

    @classmethod
    def of(cls, brought: Brought) -> Progress:
        """As it is at this moment."""
        return cls(brought.files, brought.files_done, brought.bytes, brought.bytes_done, len(brought.failed))


@dataclass(slots=True, frozen=True)
class Failed:
    """A file that could not be had, by its path from the root, and why."""

    path: str
    why: str


@dataclass(slots=True, frozen=True)
class Answer(Progress):
    """How it was at the end. `here`: files that were here before. `missing` names at most 1,000 that failed."""

    here: int
    missing: tuple[Failed, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Bring all below `paths`, which are paths from the root. With `dry_run` only say what would be brought."""

    command: ClassVar[str] = "prefetch"

    paths: tuple[bytes, ...] = ()
    dry_run: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `see` does."""
        for path in self.paths:
            os.close(see(running.view.plain, running.config.mountpoint, path))
        found = await running.view.bringing.bring(
            self.paths, lambda brought: report(Progress.of(brought)), is_trial=self.dry_run
        )
        lost = [] if self.dry_run else await in_thread(missing_below, running.view.plain.fd, self.paths)
        failed = [Failed(os.fsdecode(path), why) for path, why in found.failed]
        failed += [Failed(path, _MISSING) for path in lost]
        return Answer(
            found.files + len(lost), found.files_done + len(lost), found.bytes, found.bytes_done, len(failed),
            found.here, tuple(failed[:_NAMED_MOST]),
        )  # fmt: skip
