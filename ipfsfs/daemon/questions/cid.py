"""`cid`: the CID of a file or tree, after what in it lacks a seal was sealed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked
from ipfsfs.daemon.questions.seal import Progress
from ipfsfs.exchange.paths import unreachable
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.chunk import Chunker

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """The CID as text; None where `unsealed` files (paths from the root) keep the path from having one. `left_out`: how
    many names in the tree have no part in it, as secrets and scratch."""

    cid: str | None
    chunker: Chunker
    unsealed: tuple[str, ...]
    left_out: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, Progress]):
    """Which CID has `path`, which is a path from the root and crosses no symlink?"""

    command: ClassVar[str] = "cid"

    path: bytes = b""

    @staticmethod
    def replies() -> tuple[type[Answer], type[Progress]]:
        """See `Asked`."""
        return Answer, Progress

    async def answer(self, running: Running, report: Callable[[Progress], None]) -> Answer:
        """See `Asked`. Raises UsageError where nothing is at the path or it never has a CID, IpfsfsError where it is
        out of reach."""
        view = running.view
        named = running.config.mountpoint / os.fsdecode(self.path)
        try:
            found = await view.trees.cid(self.path)
            if found.unsealed:
                await view.upkeep.sealing.seal_tree(
                    self.path, background=False, report=lambda at: report(Progress.of(at))
                )
                found = await view.trees.cid(self.path)
        except OSError as error:
            raise unreachable(named, error) from error
        found.refuse_what_never_has_one(named)
        return Answer(
            cid.to_text(found.root) if found.root else None,
            running.config.chunker,
            tuple(os.fsdecode(below) for below in found.unsealed),
            found.left_out,
        )
