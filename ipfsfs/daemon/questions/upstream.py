"""`upstream`: what the process that follows the upstream of a view has to know, and has to tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.errors import FormatError
from ipfsfs.printed import printable
from ipfsfs.store.tables.upstream import DIGEST_SIZE, UpstreamRoot
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

NAMES_MOST: Final = 1_000
"""Names that one question can tell or ask about."""
SAYS_MOST: Final = 500


@dataclass(slots=True, frozen=True)
class Answer:
    """`known`: which names were in the view once. `root`: the tree that was wholly filled in last, as a CID, and when
    (`at`, seconds since the epoch); empty and 0 where there is none."""

    known: tuple[str, ...]
    root: str
    at: int


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Names are told by their digests, in hex. `known`: which of them were in the view once? `seen`: these are now.
    `upstream`: as `mount` names it; which tree of it was filled in last? `complete`: that of this CID is. `says`: how
    it stands, in words; `is_done`: and nothing is left to do. `at`: seconds since the epoch. `hint`: a CID,
    files below which may be wanted soon."""

    command: ClassVar[str] = "upstream"

    known: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    upstream: str = ""
    complete: str = ""
    at: int = 0
    says: str = ""
    is_done: bool = False
    hint: str = ""

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises FormatError, StoreError."""
        table = running.view.seals.ledger.upstream
        if self.seen:
            await in_thread(table.add, _digests(self.seen), self.at)
        if self.complete:
            root = UpstreamRoot(cid.from_text(self.complete), self.at)
            await in_thread(table.complete, self.upstream, root)
        if self.says:
            running.following.tell(printable(self.says[:SAYS_MOST]), is_done=self.is_done)
        if self.hint:
            hinted = cid.from_text(self.hint)
            running.view.fetcher.hint(hinted)
            await in_thread(running.view.seals.ledger.announced.note, hinted, time.time_ns())
        known = await in_thread(table.known, _digests(self.known)) if self.known else set()
        last = await in_thread(table.last, self.upstream) if self.upstream else None
        return Answer(
            tuple(sorted(name.hex() for name in known)),
            cid.to_text(last.root) if last is not None else "",
            last.at if last is not None else 0,
        )


def _digests(names: Iterable[str]) -> list[bytes]:
    try:
        found = [bytes.fromhex(name) for name in names]
    except ValueError:
        raise FormatError("not a digest of a name") from None
    if any(len(digest) != DIGEST_SIZE for digest in found) or len(found) > NAMES_MOST:
        raise FormatError("not digests of names, or too many")
    return found
