"""`verify`: read everything again below some paths, and compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, in_thread
from ipfsfs.errors import StoreError
from ipfsfs.exchange import whereabouts
from ipfsfs.exchange.below import Below
from ipfsfs.exchange.kept_files import WrongPinned, inodes_with_names, verify_pinned
from ipfsfs.exchange.paths import see
from ipfsfs.exchange.verify import Progress, Verification, WrongFile, verify

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """How many files and bytes were read; how many of the files had no seal to compare with, or were changed since they
    were sealed; which are not as they should be, and what pins hold that is not; which are missing, as `restore` looks
    for them: paths from the plain root."""

    files: int
    bytes: int
    unsealed: int
    changed: int
    wrong: tuple[WrongFile, ...]
    wrong_pinned: tuple[WrongPinned, ...] = ()
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: Verification, wrong_pinned: Sequence[WrongPinned], missing: Sequence[str]) -> Answer:
        """What a verification found."""
        wrong = tuple(result.wrong)
        return cls(
            result.files, result.bytes, result.unsealed, result.changed, wrong, tuple(wrong_pinned), tuple(missing)
        )


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Verify all below each of `paths`, which are paths from the root and cross no symlink. What pins hold is part of
    the root."""

    command: ClassVar[str] = "verify"

    paths: tuple[bytes, ...] = (b"",)

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `see` does, StoreError and SealerLost."""
        for path in self.paths:
            os.close(see(running.view.plain, running.config.mountpoint, path))
        result = await verify_in(running, self.paths, report)
        wrong_pinned = await verify_pinned_in(running, self.paths, result, report)
        return Answer.of(result, wrong_pinned, await in_thread(missing_below, running.view.plain.fd, self.paths))


def missing_below(root_fd: int, paths: Sequence[bytes]) -> list[str]:
    """What links below some paths lead to and is not there, by paths from the plain root. Waits for the disk."""
    found = [os.fsdecode(one.path) for path in paths for one in whereabouts.missing(root_fd, path)]
    return list(dict.fromkeys(found))


async def verify_in(running: Running, paths: Sequence[bytes], report: Callable[[Progress], None]) -> Verification:
    """Verify all below some paths in a running view, and what links there lead to. Raises StoreError and SealerLost."""
    view, seals = running.view, running.view.seals
    if seals.index is None:
        raise StoreError(
            f"there is nothing to compare with: {seals.degraded}",
            hint="Unmount and mount again: the index is made anew.",
        )
    await seals.flush()
    below = Below(view.plain.fd, view.nodes.root_place)
    for path in dict.fromkeys(paths):
        paths = [*paths, *await in_thread(below.led_to, path)]
    paths = list(dict.fromkeys(paths))
    asked_for = inodes_with_names(view.pinning.keeping.kept, view.plain.dev)
    result = await verify(
        running.sealer, seals.index, seals.ledger, view.plain, view.nodes.root_place, paths, report, asked_for
    )
    for ino in result.changed_inodes:
        seals.lapse(ino)
        node = view.nodes.find(seals.dev, ino)
        if node is not None:
            view.upkeep.sealing.changed(node)
    return result


async def verify_pinned_in(
    running: Running, paths: Sequence[bytes], result: Verification, report: Callable[[Progress], None]
) -> list[WrongPinned]:
    """Verify what pins of a running view hold, if the root is among the paths. Raises StoreError and SealerLost."""
    if b"" not in paths:
        return []
    keeping = running.view.pinning.keeping
    return await verify_pinned(keeping.kept, keeping.pins, result, report)
