"""`pin_add`: keep the content of a path or CID in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked
from ipfsfs.exchange.paths import unreachable
from ipfsfs.exchange.pins import Progress
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """What was pinned. `bytes_copied`: of which the store has a copy of its own, for it shares no blocks with the
    cache."""

    cid: str
    files: int
    bytes: int
    bytes_copied: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Pin what `root` names, a CID; without one, what is at `path`, from the root, which crosses no symlink."""

    command: ClassVar[str] = "pin_add"

    path: bytes = b""
    root: str | None = None

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises as `Pinning` does, and StoreBusy while blocks are imported or removed."""
        to = running.view.pinning
        try:
            if self.root is None:
                begun = await to.begin_path(self.path)  # what names in the view need is kept for them anyway
            else:
                with Blocks(running.store.blocks_fd).needing():
                    begun = await to.begin_cid(cid.from_text(self.root), report)
            done = await to.have(begun, report)
        except OSError as error:
            raise unreachable(running.config.mountpoint / os.fsdecode(self.path), error) from error
        return Answer(cid.to_text(begun.root), done.files, done.bytes, done.bytes_copied)
