"""What was done to blobs that are damaged and healed, and to pins of them, by the position in the disk's log; and what
of it must be there after a power cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

What = Literal["written", "removed", "healed", "pinned", "unpinned"]


@dataclass(slots=True)
class Done:
    """Something that was done. `begun`, `sure`: the log's position before and after it. `data`: what was written."""

    what: What
    begun: int
    data: bytes = b""
    sure: int | None = None

    def is_sure(self, position: int) -> bool:
        """Whether it was acknowledged before a position."""
        return self.sure is not None and self.sure <= position


@dataclass(slots=True)
class Blob:
    """A blob: its path from the plain root, the CID of its content as text, its content, and what was done to it."""

    path: str
    cid: str
    good: bytes
    done: list[Done] = field(default_factory=list)

    def wrong(self, position: int, found: bytes | None, kept: set[bytes]) -> str:
        """What is wrong with what stands at its name after a cut at a position, with `kept` in the quarantine; empty
        where nothing is."""
        states: list[bytes | None] = [self.good]
        written = b""
        for one in (done for done in self.done if done.begun <= position and done.what in _OF_NAME):
            if one.what == "written" and not one.is_sure(position):
                return ""  # it may be torn: no program was told that it is on disk
            after = {"written": one.data, "removed": None, "healed": self.good}[one.what]
            states = [after] if one.is_sure(position) else [*states, after]
            written = {"written": one.data, "removed": b"", "healed": written}[one.what]
        if found not in states:
            return f"{len(found) if found is not None else 'no'} bytes, and none of the {len(states)} that may be there"
        if found == self.good and written and written not in kept:
            return "it was healed, and what a program had written is nowhere"
        return ""

    def is_pinned(self, position: int) -> bool | None:
        """Whether its pin must be there after a cut, complete, or must not be; None where it may."""
        state: bool | None = False
        for one in (done for done in self.done if done.begun <= position and done.what not in _OF_NAME):
            state = one.what == "pinned" if one.is_sure(position) else None
        return state


_OF_NAME = ("written", "removed", "healed")
