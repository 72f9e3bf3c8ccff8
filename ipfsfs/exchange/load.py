"""A load: one root that is being fetched into its extent, which of its leaves are here, and who waits for others."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio
import xxhash

from ipfsfs.errors import IntegrityError, IpfsfsError
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.fetcher.client import Arrived
from ipfsfs.workers.fetcher.site_messages import PeerSource
from ipfsfs.workers.fetcher.table import LeafTable, Source

BATCH: Final = 8
"""Leaves that are asked of the fetcher at once; what readers come to wait for meanwhile goes into the next batch."""
_AHEAD: Final = 8
"""Leaves fetched behind the first that is read, while that may be all that is wanted."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Load:
    """One root and its extent.

    `fd`: the extent, open for as long as the load is. `readers`: who has it open. `failure`: why the last batch failed;
    None after one that did not. `whole`: set when every leaf is here.
    """

    reference: Reference
    fd: int
    table: LeafTable
    sources: dict[int, Source]
    """By leaf, where it may be had on this machine."""
    copied: int = 0
    """Bytes that were copied from files of this machine."""
    readers: int = 0
    failure: IpfsfsError | None = None
    whole: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    """Set when it was whole, and was put in the place of the links that it was fetched for."""
    moving: trio.Lock = field(default_factory=trio.Lock)
    """Held by who puts the extent in the place of a link."""
    is_quiet: bool = False
    """Whether nothing is to be written into the extent for now."""
    paths: set[bytes] = field(default_factory=set)
    """Of the files that it is for, from the plain root."""
    on_hub: list[HubFile] | None = None
    """The files on the Hub that have the content; None while they were not looked for."""
    from_peers: PeerSource | None = None
    """Which other machines have it; None where none is asked."""
    sha256: bytes = b""
    """What its name promises, where other machines said that this is it: they are asked who has it."""
    asked_peers: float = -math.inf
    """When they were asked who has it last."""
    looking: trio.Lock = field(default_factory=trio.Lock)
    """Held by who looks for them."""
    is_unwanted: bool = False
    """Whether all files that it was fetched for were removed."""
    is_retired: bool = False
    """Whether the extent is ours no longer: it became a file of the plain directory, or another daemon's."""
    _sums: list[int | None] = field(init=False)
    """By leaf, the XXH3-64 of its bytes where it is here."""
    _missing: int = field(init=False)
    _first_read: int = -1
    """The leaf that was read first; -1 before that."""
    _urgent: deque[int] = field(default_factory=deque)
    """Leaves that readers wait for and that are not asked for yet."""
    _queued: set[int] = field(default_factory=set)
    """The same leaves."""
    _ahead: deque[tuple[int, int]] = field(default_factory=deque)
    """Ranges of leaves that are wanted after those."""
    _asked: set[int] = field(default_factory=set)
    attempts: int = 0
    """How many batches have failed."""
    _failed: dict[int, int] = field(default_factory=dict)
    """By leaf that did not come while readers waited, the number of the batch that was the last to fail for it."""
    _waiting: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)
    _last_progress: float = 0.0

    def __post_init__(self) -> None:
        self._sums = [None] * len(self.table)
        self._missing = len(self.table)
        if not self._missing:
            self.whole.set()

    @property
    def checksums(self) -> list[int]:
        """The XXH3-64 of each leaf, once all are here."""
        return [checksum for checksum in self._sums if checksum is not None]

    @property
    def bytes_here(self) -> int:
        """About how many bytes are in the extent: leaves are taken to be of one length."""
        count = len(self.table)
        return self.reference.size * (count - self._missing) // count if count else 0

    @property
    def waiting_readers(self) -> int:
        """How many readers wait for leaves."""
        return self._waiting

    def missing(self, first: int, last: int) -> list[int]:
        """The leaves from `first` to `last` that are not here."""
        return [index for index in range(first, last + 1) if self._sums[index] is None]

    def check(self, index: int, data: bytes | bytearray | memoryview) -> None:
        """Compare the bytes of a leaf, as read from the extent, with those that came. Raises IntegrityError; the leaf
        then counts as one that is not here."""
        if xxhash.xxh3_64_intdigest(data) != self._sums[index]:
            self.lost(index)
            raise IntegrityError(f"a leaf of {cid.to_text(self.reference.root)} rotted in the store")

    def want(self, indexes: list[int]) -> None:
        """A reader waits for leaves. The first read may be all that is wanted; a second one elsewhere is a load."""
        new = [index for index in indexes if index not in self._asked and index not in self._queued]
        self._urgent += new
        self._queued.update(new)
        first = indexes[0]
        if self._first_read < 0:
            self._first_read = first
            self._ahead.append((first, min(first + _AHEAD, len(self.table))))
        elif first != self._first_read:
            self.want_all(first)

    def want_all(self, first: int = 0) -> None:
        """The whole file is wanted: from a leaf on to the end, then what lies before that."""
        self._ahead = deque([(first, len(self.table)), (0, first)])

    @property
    def wants_more(self) -> bool:
        """Whether there may be leaves to ask for."""
        return bool(self._urgent or self._ahead)

    def next_batch(self) -> list[int]:
        """The leaves to be asked for next; from then on they count as asked for. Empty where nothing is wanted."""
        batch: list[int] = []
        for index in self._wanted():
            if self._sums[index] is None and index not in self._asked:
                self._asked.add(index)
                batch.append(index)
                if len(batch) == BATCH:
                    break
        return batch

    def _wanted(self) -> Iterator[int]:
        while self._urgent:
            index = self._urgent.popleft()
            self._queued.discard(index)
            yield index
        while self._ahead:
            first, end = self._ahead.popleft()
            if first < end:
                self._ahead.appendleft((first + 1, end))
                yield first

    def arrived(self, leaf: Arrived) -> None:
        """A leaf is in the extent."""
        index = self.table.index_at(leaf.offset)
        self._asked.discard(index)
        if leaf.is_copied:
            self.copied += self.table[index].length
        if self._sums[index] is None:
            self._missing -= 1
        self._sums[index] = leaf.checksum
        self._last_progress = trio.current_time()
        self.wake()
        if not self._missing:
            self.whole.set()

    def ended(self, batch: list[int], failure: IpfsfsError | None) -> None:
        """A batch has ended; what did not come of it may be asked for again."""
        self._asked.difference_update(batch)
        self.failure = failure
        if failure is not None:
            self.attempts += 1
            if self._waiting:
                self._failed.update((index, self.attempts) for index in batch if self._sums[index] is None)
        self.wake()

    def has_failed(self, indexes: list[int], since: int) -> bool:
        """Whether one of some leaves was asked for in vain after so many `attempts`."""
        return any(self._failed.get(index, 0) > since for index in indexes)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A reader waits while the block runs; the first one's patience begins then."""
        if not self._waiting:
            self._last_progress = trio.current_time()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._failed.clear()

    def patient_until(self, patience_s: float) -> float:
        """When the file will have made no progress for `patience_s`, as things are."""
        return self._last_progress + patience_s

    async def change(self, deadline: float) -> bool:
        """Wait until something comes or fails. Returns False where nothing does until then."""
        with trio.move_on_at(deadline):
            await self._changed.wait()
            return True
        return False

    async def no_batches(self, fetching: Mapping[Load, int]) -> None:
        """Wait until nothing is being fetched for this load."""
        while fetching.get(self):
            await self._changed.wait()

    def lost(self, index: int) -> None:
        """A leaf is not in the extent after all."""
        if self._sums[index] is not None:
            self._sums[index] = None
            self._missing += 1
            self.whole = trio.Event()

    def wake(self) -> None:
        """Have those who wait look again."""
        self._changed.set()
        self._changed = trio.Event()


class Follower(Protocol):
    """Follows what is loaded. No call waits."""

    def loading(self, load: Load) -> None:
        """A load has begun."""

    def loaded(self, load: Load) -> None:
        """The extent of a load, which is retired, was put in the place of a link."""

    def ended(self, load: Load) -> None:
        """A load is over, or its extent is another's."""


class NoFollower:
    """Follows nothing."""

    def loading(self, load: Load) -> None:
        """As `Follower`."""

    def loaded(self, load: Load) -> None:
        """As `Follower`."""

    def ended(self, load: Load) -> None:
        """As `Follower`."""
