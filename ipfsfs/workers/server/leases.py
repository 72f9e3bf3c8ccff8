"""Who downloads what: leases on blobs that belong to this machine by rendezvous hashing.

A lease is a hint with an end. What becomes of one is told by a table: what it is to the machine that speaks, and what
that machine says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ipfsfs.origins.peer_messages import Held

LASTS_S: Final = 3.0
"""A lease that is not renewed for so long is nobody's. Its holder renews it every half a second."""
LEASES_MOST: Final = 100_000
_SMOOTH: Final = 0.3
_SWEPT_S: Final = 1.0
_RATED_S: Final = 0.2
"""Renewals that are closer than this say nothing of the rate."""


class Whose(Enum):
    """Whose a lease is, as the machine that speaks sees it."""

    NOBODYS = "nobody's"
    ITS_OWN = "its own"
    ANOTHERS = "another's"


class Says(Enum):
    """What a machine says of a lease."""

    WANT = "want"
    HOLD = "hold"
    RELEASE = "release"


class Then(Enum):
    """What becomes of the lease."""

    BEGINS = "begins, for the machine that speaks"
    GOES_ON = "goes on, for the machine that speaks"
    ENDS = "ends"
    STAYS = "stays what it is"


TABLE: Final[dict[tuple[Whose, Says], Then]] = {
    (Whose.NOBODYS, Says.WANT): Then.BEGINS,
    # This machine was started again, or was not the owner before: who downloads goes on with that.
    (Whose.NOBODYS, Says.HOLD): Then.BEGINS,
    (Whose.NOBODYS, Says.RELEASE): Then.STAYS,
    # The answer to the first wish was lost.
    (Whose.ITS_OWN, Says.WANT): Then.GOES_ON,
    (Whose.ITS_OWN, Says.HOLD): Then.GOES_ON,
    (Whose.ITS_OWN, Says.RELEASE): Then.ENDS,
    (Whose.ANOTHERS, Says.WANT): Then.STAYS,
    # Two download it, since each was told that it may; the one that is here stays the one that others wait for.
    (Whose.ANOTHERS, Says.HOLD): Then.STAYS,
    (Whose.ANOTHERS, Says.RELEASE): Then.STAYS,
}


@dataclass(slots=True)
class _Lease:
    """`machine`: the id of who has it. `by`: the address it was asked for from. `done`: bytes, known since `at`."""

    machine: str
    holder: str
    by: str
    since: float
    until: float
    at: float
    done: int = 0
    rate: float = 0.0

    def progress(self, done: int, now: float) -> None:
        if now < self.at + _RATED_S and done >= self.done:
            return
        if done >= self.done and now > self.at:
            sample = (done - self.done) / (now - self.at)
            self.rate = sample if not self.rate else self.rate + _SMOOTH * (sample - self.rate)
        else:  # it began anew
            self.rate = 0.0
        self.done, self.at = done, now

    def told(self, now: float) -> Held:
        return Held(self.holder, self.done, self.rate, now - self.since)


@dataclass(slots=True)
class LeaseBook:
    """All leases. Times are those of one clock that never goes back, in seconds.

    Where there are too many, the oldest goes of the address that has most, for one that has fewer: so a machine that
    asks for all leaves room for the others.
    """

    most: int = LEASES_MOST
    _leases: dict[bytes, _Lease] = field(default_factory=dict)
    _by: dict[str, dict[bytes, None]] = field(default_factory=dict)
    """By address, whose leases; the oldest first."""
    _swept: float = -math.inf
    """When those that have ended were forgotten last."""

    def __len__(self) -> int:
        return len(self._leases)

    def say(
        self, sha256: bytes, says: Says, machine: str, holder: str, now: float, done: int = 0, *, by: str = ""
    ) -> Held | None:
        """A machine says something of a lease; returns whose it is instead, where it is another's. `by`: the address
        that it is said from, be it by a machine that passes it on."""
        lease = self._lease(sha256, now)
        match TABLE[self._whose(lease, machine), says]:
            case Then.BEGINS:
                if len(self._leases) < self.most or self._make_room(by, now):
                    self._leases[sha256] = _Lease(machine, holder, by, now, now + LASTS_S, now, done)
                    self._by.setdefault(by, {})[sha256] = None
                return None
            case Then.GOES_ON:
                assert lease is not None
                lease.until = now + LASTS_S
                if says is Says.HOLD:
                    lease.progress(done, now)
                return None
            case Then.ENDS:
                self._remove(sha256)
                return None
            case Then.STAYS:
                return None if lease is None else lease.told(now)

    def held(self, sha256: bytes, machine: str, now: float) -> Held | None:
        """Another machine's lease on a blob."""
        lease = self._lease(sha256, now)
        return None if lease is None or lease.machine == machine else lease.told(now)

    def announced(self, sha256: bytes, machine: str) -> None:
        """A machine has all of a blob: its lease on it is over."""
        lease = self._leases.get(sha256)
        if lease is not None and lease.machine == machine:
            self._remove(sha256)

    def count(self, now: float) -> int:
        """Leases that have not ended, or did so within a second."""
        self._sweep(now)
        return len(self._leases)

    def _lease(self, sha256: bytes, now: float) -> _Lease | None:
        lease = self._leases.get(sha256)
        if lease is not None and lease.until <= now:
            self._remove(sha256)
            return None
        return lease

    @staticmethod
    def _whose(lease: _Lease | None, machine: str) -> Whose:
        if lease is None:
            return Whose.NOBODYS
        return Whose.ITS_OWN if lease.machine == machine else Whose.ANOTHERS

    def _make_room(self, by: str, now: float) -> bool:
        """Returns whether there is room then for a lease that is asked for from an address; a wish is granted in any
        case."""
        self._sweep(now)
        if len(self._leases) < self.most:
            return True
        most = max(self._by, key=lambda address: len(self._by[address]))
        if len(self._by[most]) <= len(self._by.get(by, ())) + 1:
            return False
        self._remove(next(iter(self._by[most])))
        return True

    def _sweep(self, now: float) -> None:
        """Forget leases that have ended, once in a second: there may be many."""
        if now >= self._swept + _SWEPT_S:
            self._swept = now
            for sha256 in [sha256 for sha256, lease in self._leases.items() if lease.until <= now]:
                self._remove(sha256)

    def _remove(self, sha256: bytes) -> None:
        by = self._leases.pop(sha256).by
        del self._by[by][sha256]
        if not self._by[by]:
            del self._by[by]
