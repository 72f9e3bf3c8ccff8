"""Which origin served what, and how each fares, as the fetcher tells it to the daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final, Literal

from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.paused import Counts, Paused
from ipfsfs.workers.fetcher.stored import IMPORTED
from ipfsfs.workers.fetcher.table import COPIED

_WORDS_MOST: Final = 1_000

SourceKind = Literal["peers", "hub", "others", "here"]
"""Where leaves come from: machines of the site, the Hub, other origins, files and blocks of this machine."""
_FIRST_WORDS: Final[Mapping[str, SourceKind]] = {"peer": "peers", "hub": "hub"}
"""Of the names of origins."""


@dataclass(slots=True)
class Served:
    """What an origin gave: leaves of files, and their bytes."""

    leaves: int = 0
    bytes: int = 0

    def add(self, length: int) -> None:
        """It gave a leaf of `length` bytes."""
        self.leaves += 1
        self.bytes += length


def by_kind(served: Mapping[str, Served]) -> dict[SourceKind, Served]:
    """What came from each kind of source, given what came from each source by its name."""
    kinds: dict[SourceKind, Served] = {kind: Served() for kind in ("peers", "hub", "others", "here")}
    for name, one in served.items():
        kind = "here" if name in (COPIED, IMPORTED) else _FIRST_WORDS.get(name.partition(" ")[0], "others")
        kinds[kind].leaves += one.leaves
        kinds[kind].bytes += one.bytes
    return kinds


@dataclass(slots=True, frozen=True)
class OriginState:
    """An origin since the fetching process began.

    `asked`, `blocks`, `failures`: questions, blocks that it gave, and questions that it failed to answer. `trouble`:
    its last failure in words, empty once it answered.
    """

    name: str
    asked: int
    blocks: int
    failures: int
    trouble: str


def told(origins: Ordered) -> Sequence[object]:
    """The states of all origins, in the order in which they are asked, as they stand in a frame."""
    paused = [origin for origin in origins.origins if isinstance(origin, Paused)]
    quick = {origin.name: origin.counts for origin in origins.quick if isinstance(origin, Paused)}
    return [astuple(_state(one, quick.get(one.name, Counts()))) for one in paused]


def _state(origin: Paused, besides: Counts) -> OriginState:
    counts = origin.counts
    return OriginState(
        origin.name,
        counts.asked + besides.asked,
        counts.blocks + besides.blocks,
        counts.failures + besides.failures,
        origin.trouble[:_WORDS_MOST],
    )
