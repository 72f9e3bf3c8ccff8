"""`find`: which files of the view hold the content of some roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ipfsfs.daemon.questions.question import Asked, NoProgress
from ipfsfs.exchange.residents import residents
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

Told = Literal["names", "leaves"]
"""What is told of each file: where it is, or its leaves as well."""

ROOTS_MOST = 500
"""Roots that one question can ask for."""


@dataclass(slots=True, frozen=True)
class HeldFile:
    """A file that is sealed as `root` (a CID as text). `path` is from the view's root. `leaves`: in hexadecimal, the
    length (4 bytes, big-endian) and the sha2-256 of each; empty where they are not asked for."""

    root: str
    path: bytes
    size: int
    leaves: str


@dataclass(slots=True, frozen=True)
class Answer:
    """One file at most for each root."""

    files: tuple[HeldFile, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Which files are sealed as one of `roots` (CIDs as text)?"""

    command: ClassVar[str] = "find"

    roots: tuple[str, ...] = ()
    told: Told = "names"

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises FormatError for what is no CID, StoreError."""
        roots = [cid.from_text(root) for root in self.roots[:ROOTS_MOST]]
        found = await residents(running.view.plain, running.view.seals, roots)
        return Answer(
            tuple(
                HeldFile(
                    cid.to_text(one.seal.root),
                    one.path,
                    one.seal.size,
                    one.seal.leaves.hex() if self.told == "leaves" else "",
                )
                for one in found
            )
        )
