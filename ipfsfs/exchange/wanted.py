"""What is known of the blobs that are wanted here, by sha256: the states of each, and which follows which.

A blob is wanted because a listing here names it, or the lock of its download was opened. Nothing is asked here, nothing
waits, and the clock is the caller's. Each state has an end: an answer, a time, or that the client went away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import trio

from ipfsfs.exchange.pace import Holder, Pace
from ipfsfs.origins.peer_messages import Found, Held

FRESH_S: Final = 5.0
"""How long it holds good that another machine has said that it has a blob (H40)."""
BEGIN_S: Final = 10.0
"""How long a lease is kept for a download that does not begin: a listing names files that nobody wants, or not yet."""
AWAY_S: Final = 5.0
"""How long it is kept for one that has ended without a result: clients try again."""
STALLED_S: Final = 60.0
"""How long it is kept for one that does not grow: clients write in pieces of 10 MB."""
SEALED_S: Final = 1_800.0
"""How long it is kept for a blob that has its name and is not announced: 140 GB are sealed within that."""
REMOVED_S: Final = 600.0
"""For how long what was removed through the view does not come back by itself."""
_STALE_S: Final = 3.0
"""What was said of another machine's lease so long ago says nothing: a lease lasts as long without its holder."""
_IDLE_S: Final = 600.0
"""After so long without a question an entry is forgotten."""
_LOOKED_AT: Final = 1_024
"""At one time: lookups wait meanwhile."""
BLOBS_MOST: Final = 65_536
"""That are wanted at the same time."""


class State(Enum):
    """What is known of a wanted blob."""

    NAMED = "a listing names it, and nobody was asked yet"
    ASKED = "the others are being asked"
    FOUND = "another machine has it"
    OURS = "this machine downloads it for all"
    THEIRS = "another machine downloads it"
    ALONE = "it is downloaded here, as if there were no others"


_KEPT: Final = (State.ASKED, State.THEIRS)


@dataclass(slots=True, eq=False)
class Wanted:
    """One blob. `size`: -1 where it is not known."""

    sha256: bytes
    size: int = -1
    state: State = State.NAMED
    since: float = 0.0
    """When it came into this state."""
    touched: float = 0.0
    """When it was asked for last."""
    found: Found | None = None
    pace: Pace | None = None
    holder: str = ""
    waiting: int = 0
    """How many clients' locks are held for it."""
    is_begun: bool = False
    """In OURS: whether a download was seen."""
    seen: float = 0.0
    """In OURS: when a download was seen last."""
    had: int = 0
    """In OURS: how many bytes were seen of it."""
    grown: float = 0.0
    """In OURS: when these became more."""
    is_named: bool = False
    """In OURS: whether it has its name, and waits for its seal."""
    changed: trio.Event = field(default_factory=trio.Event)
    among: dict[State, dict[bytes, Wanted]] | None = field(default=None, repr=False)
    """All wanted blobs by their state, this one with them; None where it is wanted no longer."""

    @property
    def is_kept(self) -> bool:
        """Whether clients are to wait at their lock."""
        return self.state in _KEPT

    def is_stale(self, now: float) -> bool:
        """Whether another machine's lease on it was heard of too long ago, for no client waits for it here."""
        return self.state is State.THEIRS and (self.pace is None or now > self.pace.noted + _STALE_S)

    def become(self, state: State, now: float) -> None:
        """Go over to a state; who waits looks again."""
        if state is not self.state:
            self.since = now
            self.is_begun = self.is_named = False
            if self.among is not None:
                self.among[self.state].pop(self.sha256, None)
                self.among[state][self.sha256] = self
        self.state = state
        self.changed.set()
        self.changed = trio.Event()


@dataclass(slots=True)
class WantedBlobs:
    """All wanted blobs, at most 65,536, and what is to be told to the others."""

    holders: dict[str, Holder] = field(default_factory=dict)
    """Other machines whose downloads are waited for, by address."""
    released: set[bytes] = field(default_factory=set)
    """Leases that have ended, and that the others were not told of yet."""
    _blobs: OrderedDict[bytes, Wanted] = field(default_factory=OrderedDict)
    _by_state: dict[State, dict[bytes, Wanted]] = field(default_factory=lambda: {state: {} for state in State})
    """The same: a listing may name tens of thousands, of which few are waited for."""
    _to_look_at: list[bytes] = field(default_factory=list)
    """Those that were not looked at yet, since all of them were, for whether they are idle."""
    _removed: OrderedDict[bytes, float] = field(default_factory=OrderedDict)
    _wrong: set[tuple[bytes, bytes]] = field(default_factory=set)
    """By sha256 and root: what was said to be, and is not so."""

    def __len__(self) -> int:
        return len(self._blobs)

    def get(self, sha256: bytes) -> Wanted | None:
        """A blob, if it is wanted."""
        return self._blobs.get(sha256)

    def waited_for(self) -> list[Wanted]:
        """Those that another machine downloads, and clients of this one wait for."""
        return [blob for blob in self._by_state[State.THEIRS].values() if blob.waiting]

    def of(self, *states: State) -> list[Wanted]:
        """Those in some states."""
        return [blob for state in states for blob in self._by_state[state].values()]

    @property
    def is_seal_awaited(self) -> bool:
        """Whether something that was downloaded here for all lacks only its seal."""
        return any(blob.is_named for blob in self.of(State.OURS))

    def want(self, sha256: bytes, now: float, size: int = -1) -> Wanted:
        """A listing names a blob, or its lock was opened."""
        blob = self._blobs.get(sha256)
        if blob is None:
            self._make_room()
            blob = self._blobs[sha256] = Wanted(sha256, since=now, among=self._by_state)
            self._by_state[blob.state][sha256] = blob
        self._blobs.move_to_end(sha256)
        blob.touched = now
        blob.size = size if size >= 0 else blob.size
        return blob

    def _make_room(self) -> None:
        while len(self._blobs) >= BLOBS_MOST:
            self.drop(next(iter(self._blobs.values())))

    def drop(self, blob: Wanted) -> None:
        """A blob is wanted no longer."""
        self._release(blob)
        if self._blobs.get(blob.sha256) is blob:
            del self._blobs[blob.sha256]
            del self._by_state[blob.state][blob.sha256]
            blob.among = None
        blob.become(State.NAMED, blob.since)

    def asking(self, blobs: list[Wanted], now: float) -> None:
        """The others are about to be asked. One whose state says more keeps it."""
        for blob in blobs:
            if blob.state in (State.NAMED, State.FOUND) or blob.is_stale(now):
                blob.become(State.ASKED, now)

    def granted(self, blob: Wanted, now: float) -> None:
        """The lease is this machine's."""
        if blob.state is not State.OURS:
            blob.become(State.OURS, now)
            self.released.discard(blob.sha256)

    def held(self, blob: Wanted, held: Held, now: float) -> None:
        """The lease is another machine's."""
        if blob.state is State.OURS:  # it was lost meanwhile, as by a machine that was paused: go on without it
            blob.become(State.ALONE, now)
        if blob.state is State.ALONE:
            return
        if blob.state is not State.THEIRS or blob.pace is None or blob.holder != held.holder:
            blob.become(State.THEIRS, now)
            blob.pace, blob.holder = Pace(now, blob.size), held.holder
        blob.pace.size = blob.size
        holder = self.holders.get(held.holder)
        if holder is None or now > holder.noted + _STALE_S:
            holder = self.holders[held.holder] = Holder(now)
        holder.note(now, blob.pace.note(now, held.done, held.rate))

    def has_holder(self, blob: Wanted, found: Found, now: float) -> None:
        """Another machine has said just now that it has the blob."""
        if (blob.sha256, found.root) in self._wrong:
            self.alone(blob, now)
            return
        self._release(blob)
        blob.found, blob.size = found, found.size
        blob.become(State.FOUND, now)
        blob.since = now

    def alone(self, blob: Wanted, now: float) -> None:
        """Nobody is waited for."""
        self._release(blob)
        blob.become(State.ALONE, now)

    def nobody(self, blob: Wanted, now: float) -> None:
        """A question has ended, and brought nothing."""
        if blob.state is State.ASKED:
            blob.become(State.ALONE, now)

    def is_fresh(self, blob: Wanted, now: float) -> bool:
        """Whether another machine has said just now that it has the blob."""
        return blob.state is State.FOUND and now < blob.since + FRESH_S

    def watch(self, blob: Wanted, done: int | None, now: float) -> int | None:
        """How far the download of a blob is whose lease is ours; None: none is under way. Returns the bytes to tell the
        others, None where the lease has ended."""
        if done is not None:
            if not blob.is_begun or done != blob.had:
                blob.had, blob.grown = done, now
            blob.is_begun, blob.seen = True, now
            if now < blob.grown + STALLED_S:
                return done
            self.alone(blob, now)
            return None
        if blob.is_named:
            if now < blob.since + SEALED_S:
                return max(blob.size, 0)
        elif now < (blob.seen + AWAY_S if blob.is_begun else max(blob.since, blob.touched) + BEGIN_S):
            return 0
        self._release(blob)
        blob.become(State.NAMED, now)
        return None

    def named(self, sha256: bytes, size: int, now: float) -> None:
        """A download has got its name."""
        blob = self._blobs.get(sha256)
        if blob is not None:
            blob.is_named, blob.size = True, size
            if blob.state is State.OURS:
                blob.since = now

    def over(self, sha256: bytes) -> None:
        """A blob is here and announced, or cannot be: whatever was to be done is done."""
        blob = self._blobs.get(sha256)
        if blob is not None:
            self.drop(blob)

    def removed(self, sha256: bytes, now: float) -> None:
        """A promised name was removed through the view."""
        self._removed.pop(sha256, None)
        self._removed[sha256] = now
        while len(self._removed) > BLOBS_MOST:
            self._removed.popitem(last=False)

    def was_removed(self, sha256: bytes, now: float) -> bool:
        """Whether that was of late."""
        return now < self._removed.get(sha256, -REMOVED_S) + REMOVED_S

    def wrong(self, sha256: bytes, root: bytes) -> None:
        """What a root names is not what the sha256 promises."""
        if len(self._wrong) < BLOBS_MOST:
            self._wrong.add((sha256, root))

    def forget_idle(self, now: float) -> None:
        """Forget what nobody has asked for in a long time, of some of all blobs: those that follow at the next call."""
        if not self._to_look_at:
            self._to_look_at = list(self._blobs)
        for blob in list(self._idle(now)):
            self.drop(blob)
        del self._to_look_at[-_LOOKED_AT:]
        self.holders = {at: holder for at, holder in self.holders.items() if now < holder.noted + _IDLE_S}

    def _idle(self, now: float) -> Iterator[Wanted]:
        for sha256 in self._to_look_at[-_LOOKED_AT:]:
            blob = self._blobs.get(sha256)
            if blob is None or blob.state is State.OURS or blob.waiting:
                continue
            if now - max(blob.touched, blob.since) > _IDLE_S:
                yield blob

    def _release(self, blob: Wanted) -> None:
        if blob.state is State.OURS:
            self.released.add(blob.sha256)
