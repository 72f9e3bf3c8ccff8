"""`evict`: give back what origins have, by name or down to a size."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ipfsfs.daemon.questions.question import Asked
from ipfsfs.exchange.paths import see

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running
    from ipfsfs.view.outcomes import File, Given

_NAMED_MOST: Final = 1_000


@dataclass(slots=True, frozen=True)
class Progress:
    """How many files went so far, their bytes, and how many stay."""

    files: int
    bytes: int
    stay: int

    @classmethod
    def of(cls, given: Given) -> Progress:
        """As it is at this moment."""
        return cls(len(given.went), given.bytes, len(given.stays))


@dataclass(slots=True, frozen=True)
class Named:
    """A file by its path from the root, its bytes, and why it stays, which is empty where it goes."""

    path: str
    bytes: int
    why: str


@dataclass(slots=True, frozen=True)
class Answer(Progress):
    """How it was at the end, or would be. `extents`: of the bytes, those of files that were not wholly here; `not_here`
    files were not from the start. `went` and `stays` name at most 1,000 files each. `size`: bytes that are kept of all
    that origins can give again; None where that was not looked for."""

    extents: int
    not_here: int
    went: tuple[Named, ...]
    stays: tuple[Named, ...]
    size: int | None = None


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Evict what may go below `paths`, which are paths from the root; or, where `to` is a number, until no more than
    that many bytes are kept. With `dry_run` only say what would go."""

    command: ClassVar[str] = "evict"

    paths: tuple[bytes, ...] = ()
    to: int | None = None
    dry_run: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `see` does, and StoreError."""
        room = running.view.room
        for path in self.paths:
            os.close(see(running.view.plain, running.config.mountpoint, path))

        def show(given: Given) -> None:
            report(Progress.of(given))

        if self.to is None:
            given = await room.evict(self.paths, show, is_trial=self.dry_run)
        else:
            given = await room.down_to(self.to, show, is_trial=self.dry_run)
        return Answer(
            len(given.went), given.bytes, len(given.stays), given.extents, given.not_here,
            _named(given.went), _named(given.stays), given.size,
        )  # fmt: skip


def _named(files: list[File]) -> tuple[Named, ...]:
    return tuple(Named(os.fsdecode(file.path), file.size, file.why) for file in files[:_NAMED_MOST])
