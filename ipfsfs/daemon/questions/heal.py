"""`heal`: verify everything below some paths, and have what is wrong or missing again."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import trio

from ipfsfs.daemon.questions.question import Asked, in_thread
from ipfsfs.daemon.questions.verify import verify_in, verify_pinned_in
from ipfsfs.errors import UsageError
from ipfsfs.exchange.heal import Damaged, Healed, NotHealed
from ipfsfs.exchange.heal_kept import PinnedOutcome
from ipfsfs.exchange.verify import Progress, Verification
from ipfsfs.plain import syscalls
from ipfsfs.view.names import SHORT_S

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """How many files and bytes were read; how many of the files had no seal to compare with; and what became of what
    was wrong or missing, of files (`healed`, `not_healed`) and of what pins hold."""

    files: int
    bytes: int
    unsealed: int
    healed: tuple[Healed, ...]
    not_healed: tuple[NotHealed, ...]
    pinned: tuple[PinnedOutcome, ...] = ()


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Heal all below each of `paths`, which are paths from the root and cross no symlink but in their last part: a link
    stands for what it leads to, be that there or not."""

    command: ClassVar[str] = "heal"

    paths: tuple[bytes, ...] = (b"",)

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises UsageError for a path at which nothing is or can be again; StoreError and SealerLost."""
        view = running.view
        verifications: list[Verification] = []
        damaged: list[Damaged] = []
        for asked in self.paths:
            path = _led_to(running, asked)
            missing = await view.healing.missing(path)
            if not missing and _reason(running, path):
                shown = running.config.mountpoint / os.fsdecode(asked)
                raise UsageError(f"{shown}: {_reason(running, path)}, and nothing says what it was")
            verified = await verify_in(running, [path], report)
            for wrong in verified.wrong:
                found = await view.healing.look(os.fsencode(wrong.path), wrong.kind)
                damaged += [found] if found is not None else []
            damaged += missing
            verifications.append(verified)
        outcomes: list[Healed | NotHealed] = []
        also: set[str] = set()
        for one in dict.fromkeys(damaged):
            if os.fsdecode(one.path) in also:
                continue  # another name of a file that was healed
            done = await view.healing.heal(one, lambda path, done: report(Progress(0, done, os.fsdecode(path))))
            outcomes.append(done)
            also.update(done.also if isinstance(done, Healed) else ())
        healed = tuple(one for one in outcomes if isinstance(one, Healed))
        for each in healed:
            await view.upkeep.sealing.seal_tree(os.fsencode(each.path), background=False, report=lambda at: None)
        if any(each.damage == "missing" for each in healed):
            await trio.sleep(SHORT_S)  # the kernel may remember for so long that nothing was there (H8)
        left = tuple(one for one in outcomes if isinstance(one, NotHealed) and one.path not in also)
        pinned = await _heal_pinned(running, verifications, report) if b"" in self.paths else []
        files = sum(one.files for one in verifications)
        size, unsealed = sum(one.bytes for one in verifications), sum(one.unsealed for one in verifications)
        return Answer(files, size, unsealed, healed, left, tuple(pinned))


async def _heal_pinned(
    running: Running, verifications: Sequence[Verification], report: Callable[[Progress], None]
) -> list[PinnedOutcome]:
    """Verify what pins hold, now that files of the view are healed which it may share, and heal what is wrong."""
    view = running.view
    outcomes: list[PinnedOutcome] = []
    for wrong in await verify_pinned_in(running, [b""], verifications[0], report):

        def tell(done: int, name: str = wrong.cid) -> None:
            report(Progress(0, done, name))

        outcomes.append(await view.healing_kept.heal(wrong, tell))
    left = [one.wrong.file for one in outcomes if one.why]
    await in_thread(view.pinning.keeping.pins.found, left)
    return outcomes


def _led_to(running: Running, path: bytes) -> bytes:
    """The path that a link leads to within the view; any other path as it is."""
    try:
        fd = syscalls.open_beneath(running.view.plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return path
    try:
        text = os.readlink(b"", dir_fd=fd)
    except OSError:
        return path
    finally:
        os.close(fd)
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    return path if target.startswith((b"/", b"../")) or b"://" in text else target


def _reason(running: Running, path: bytes) -> str:
    """Why nothing can be had at a path; empty where something is there."""
    try:
        os.close(syscalls.open_beneath(running.view.plain.fd, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError as error:
        return os.strerror(error.errno or errno.ENOENT)
    return ""
