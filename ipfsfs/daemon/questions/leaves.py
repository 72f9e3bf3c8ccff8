"""`leaves`: the leaves of a file that is sealed, so that a command need not hash it again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.plain import syscalls
from ipfsfs.unixfs.chunk import Chunker

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """`leaves`: in hexadecimal, the length (4 bytes, big-endian) and the sha2-256 of each, as they were cut by
    `chunker`; None where no seal agrees with the file."""

    leaves: str | None = None
    chunker: Chunker | None = None


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Which leaves has the file at `path` (from the view's root, crossing no symlink), by its seal?"""

    command: ClassVar[str] = "leaves"

    path: bytes = b""

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`."""
        view = running.view
        try:
            fd = syscalls.open_beneath(view.plain.fd, self.path, os.O_PATH | os.O_NOFOLLOW)
        except OSError:
            return Answer()
        try:
            seal = view.seals.agreeing(os.fstat(fd))
        finally:
            os.close(fd)
        return Answer() if seal is None else Answer(seal.leaves.hex(), seal.chunker)
