"""`published`: what `publish` named of a view's content, and how that is served to others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.errors import FormatError
from ipfsfs.store.tables.published import PublishedRoot
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

PARTS_MOST: Final = 400
"""Files and nodes that one question can tell of."""
_SHA256_SIZE: Final = 32


@dataclass(slots=True, frozen=True)
class Published:
    """A root that was published: its CID, the path from the view's root, whether it is served from here alone, and
    when, in seconds since the epoch."""

    root: str
    path: bytes
    is_served: bool
    when: int


@dataclass(slots=True, frozen=True)
class Answer:
    """`published`: all roots, the oldest first. `was_there`: whether the root that was removed was one of them.
    `serve`: HOST:PORT where the view serves blocks, None where it does not; `is_open`: to anyone."""

    published: tuple[Published, ...]
    was_there: bool
    serve: str | None
    is_open: bool


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """What is published? Before that, of the CID `root`: note `files` (CIDs) and `nodes` (sha2-256, in hexadecimal) of
    it; with `complete`, it is published from now on, from `path`, and `is_served` from here; with `remove` no longer.
    """

    command: ClassVar[str] = "published"

    root: str = ""
    files: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    complete: bool = False
    remove: bool = False
    path: bytes = b""
    is_served: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises FormatError, StoreError."""
        table = running.view.seals.ledger.published
        was_there = False
        if self.root:
            root = cid.from_text(self.root)
            files, nodes = [cid.from_text(one) for one in self.files[:PARTS_MOST]], _digests(self.nodes)
            if files or nodes:
                await in_thread(table.note, root, files, nodes)
            if self.complete:
                await in_thread(table.add, PublishedRoot(root, self.path, self.is_served, time.time_ns()))
            if self.remove:
                was_there = await in_thread(table.remove, root)
            if self.complete or self.remove:
                running.view.published.changed()
        roots = await in_thread(table.all)
        site = running.config.site
        return Answer(
            tuple(Published(cid.to_text(one.root), one.path, one.is_served, one.when_ns // 10**9) for one in roots),
            was_there,
            site.serve,
            site.open or site.token_file is None,
        )


def _digests(nodes: tuple[str, ...]) -> list[bytes]:
    try:
        found = [bytes.fromhex(node) for node in nodes[:PARTS_MOST]]
    except ValueError:
        raise FormatError("not a digest of a node") from None
    if any(len(digest) != _SHA256_SIZE for digest in found):
        raise FormatError("not a digest of a node")
    return found
