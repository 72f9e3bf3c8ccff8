"""`why`: what a path is, and what is known of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.exchange.paths import see
from ipfsfs.exchange.why import Known, LeavesTold, Why, why
from ipfsfs.plain import held
from ipfsfs.view.reads import Reads

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running
    from ipfsfs.view.view import View

_NOT_HERE: Final = Reads("read", False, "it is not wholly here: the daemon brings its bytes, and checks them")


@dataclass(slots=True, frozen=True)
class Question(Asked[Why, NoProgress]):
    """What is at `path`, which is a path from the root and crosses no symlink?"""

    command: ClassVar[str] = "why"

    path: bytes = b""
    leaves: LeavesTold = "first"

    @staticmethod
    def replies() -> tuple[type[Why], type[NoProgress]]:
        """See `Asked`."""
        return Why, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Why:
        """See `Asked`. In a thread: the databases may be busy, and the disk slow. Raises as `why` does."""
        view, seals = running.view, running.view.seals
        await seals.flush()
        root = running.config.mountpoint
        loads = view.hydrating.loads
        origins = tuple(one.name for one in running.config.asked)
        known = Known(
            view.plain,
            root,
            seals.index,
            seals.ledger,
            seals.degraded,
            extents=loads.extents,
            origins=origins,
            provenance=loads.provenance if origins or running.config.site.peers is not None else None,
            unsealable=seals.unsealable,
            not_yet=view.upkeep.sealing.why_not_yet,
        )
        found = await in_thread(why, known, self.path, self.leaves)
        if not found.has_content:
            return found
        reads = _NOT_HERE if found.identity is None else _reads(view, root, self.path)
        return replace(found, checked_by=reads.checked_by, native=reads.native, native_why=reads.why)


def _reads(view: View, root: Path, path: bytes) -> Reads:
    """How the regular file at a path is read. Raises as `see`, where it has gone meanwhile."""
    held_by = see(view.plain, root, path)
    try:
        fd = held.reopen(held_by, os.O_RDONLY)
    except OSError as error:
        return Reads("read", False, f"it cannot be opened: {error.strerror}")
    finally:
        os.close(held_by)
    try:
        st = os.fstat(fd)
        node = view.nodes.find(st.st_dev, st.st_ino)
        return view.native.reads(fd, st, view.seals.agreeing(st), view.files.of(node) if node is not None else None)
    finally:
        os.close(fd)
