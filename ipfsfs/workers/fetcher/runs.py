"""Leaves that lie one after the other in a file, asked of a machine in one request: a run.

A request costs as much for a small leaf as for a large one. Who asks for the first leaf of a run asks for those behind
it, too; whoever wants one of those waits for that answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from ipfsfs.origins.ordered import Given
from ipfsfs.origins.peer_messages import RUN_MAX, RUN_MOST
from ipfsfs.unixfs import cid as cids
from ipfsfs.workers.fetcher.table import Leaf, Source
from ipfsfs.workers.fetcher.zeros import is_zeros


@dataclass(slots=True, eq=False)
class Run:
    """Leaves that are asked for together, by their CIDs and lengths, the one that somebody waits for first."""

    leaves: Sequence[tuple[bytes, int]]
    at: int
    brought: int = 0
    """Bytes that came beside the first."""
    given: dict[bytes, Given] = field(default_factory=dict)
    """What came beside the first, and was not taken yet."""
    done: trio.Event = field(default_factory=trio.Event)

    def put(self, cid: bytes, given: Given) -> None:
        """A leaf came beside the first."""
        self.given[cid] = given
        self.brought += len(given.block)

    async def taken(self, cid: bytes) -> Given | None:
        """A leaf that comes beside the first, once that is here; None where it did not come."""
        await self.done.wait()
        return self.given.pop(cid, None)


@dataclass(slots=True, eq=False)
class Runs:
    """The runs of one file. `where`: by CID, where the leaves that are wanted lie and how long they are, in their
    order."""

    where: Mapping[bytes, tuple[int, int]]
    _order: list[bytes] = field(init=False)
    _place: dict[bytes, int] = field(init=False)
    _awaited: dict[bytes, Run] = field(default_factory=dict)
    """By CID, the run that a leaf comes with."""
    _asked: set[bytes] = field(default_factory=set)
    """Leaves that runs begin with."""

    def __post_init__(self) -> None:
        self._order = list(self.where)
        self._place = {cid: number for number, cid in enumerate(self._order)}

    def of(self, cid: bytes) -> Run | None:
        """The run that a leaf comes with; None where it is to be asked for. Told once."""
        return self._awaited.pop(cid, None)

    @contextmanager
    def begun(self, cid: bytes) -> Iterator[Run]:
        """A leaf is asked for while the block runs: with it those behind it that nobody has asked for."""
        run = Run(list(self._following(cid)), self.where[cid][0])
        self._asked.add(cid)
        for other, _ in run.leaves[1:]:
            self._awaited[other] = run
        try:
            yield run
        finally:
            self._asked.discard(cid)
            run.done.set()

    def _following(self, cid: bytes) -> Iterator[tuple[bytes, int]]:
        """A leaf, and what lies behind it as far as a run goes."""
        offset, length = self.where[cid]
        yield cid, length
        end, total = offset + length, length
        first = self._place[cid]
        for other in self._order[first + 1 : first + RUN_MOST]:
            offset, length = self.where[other]
            total += length
            is_asked = other in self._awaited or other in self._asked
            if is_asked or offset != end or total > RUN_MAX or cids.codec(other) != cids.RAW:
                return
            yield other, length
            end += length


def not_here(leaves: Sequence[Leaf], sources: Sequence[Source | None]) -> dict[bytes, tuple[int, int]]:
    """By CID, where those leaves lie, and how long they are, that no file of this machine is known to have."""
    return {
        leaf.cid: (leaf.offset, leaf.length)
        for leaf, source in zip(leaves, sources, strict=True)
        if source is None and not is_zeros(leaf.cid, leaf.length)
    }
