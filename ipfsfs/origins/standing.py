"""How a peer fares: whether it is asked, how long it takes, and what it gave.

One that does not answer is left alone for a second, and twice as long after each further failure, up to a minute; one
that lies, or that is not known to be of the site, for a minute. Questions that fail beside each other lengthen that
once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.origins.paused import FIRST_PAUSE_S, LONGEST_PAUSE_S

DISTRUST_S: Final = 60.0
"""How long one is left alone that gave other bytes, or an answer that is not signed as it has to be."""
_SMOOTH: Final = 0.2
"""How much of an estimate of a time is the newest sample."""
_STALE_S: Final = 10.0
"""An estimate of a rate so old says nothing any more."""
_WINDOW_S: Final = 0.25
_MEMORY_S: Final = 0.5
"""A rate that was measured for so long counts for 63 % of the estimate."""
_FAIR_S: Final = 0.25
"""Time enough for an answer, however far away a machine is."""
_LATE_MOST: Final = 4
ALONE_S: Final = 2.0
"""For how long it holds good that a machine asks, and that a peer has told how many do."""


@dataclass(slots=True)
class Rate:
    """How many bytes come in a second, while some are asked for. `asking`: questions under way. `was_slow`: whether
    others had to be asked instead, the last time."""

    asking: int = 0
    was_slow: bool = False
    _rate: float = 0.0
    _at: float = -math.inf
    _since: float = 0.0
    _came: int = 0
    """Bytes that came since then."""

    def begins(self, now: float) -> None:
        """Something is asked for."""
        if not self.asking:
            self._since, self._came = now, 0
        self.asking += 1

    def ends(self, now: float, came: int) -> None:
        """So many bytes have come, or nothing did (0)."""
        self.asking -= 1
        self._came += came
        took_s = now - self._since
        if self._came and took_s > 0 and (took_s >= _WINDOW_S or not self.asking):
            sample, before = self._came / took_s, self.known(now)
            weight = 1 - math.exp(-took_s / _MEMORY_S)
            self._rate = before + weight * (sample - before) if before else sample
            self._at, self._since, self._came = now, now, 0
            self.was_slow = False

    def at_most(self, rate: float, now: float) -> None:
        """It was seen that no more than so many bytes a second come."""
        self.was_slow = True
        if not self.known(now) or rate < self._rate:
            self._rate, self._at = rate, now

    def known(self, now: float) -> float:
        """Bytes a second; 0 where nothing is known, or not any more."""
        return self._rate if now - self._at < _STALE_S else 0.0

    def expected_s(self, length: int, now: float) -> float:
        """In how many seconds so many bytes more would be here; 0 where nothing is known."""
        rate = self.known(now)
        return (self.asking + 1) * length / rate if rate else 0.0


@dataclass(slots=True)
class Standing:
    """`trouble`: why it is not asked, or its last failure; empty once it answered. `leaves`, `gave`: blocks that it
    gave, and their bytes."""

    trouble: str = ""
    is_distrusted: bool = False
    round_trip_s: float = 0.0
    """Of short questions, smoothed; 0 while nothing is known."""
    leaves: int = 0
    gave: int = 0
    failures: int = 0
    rate: Rate = field(default_factory=Rate)
    """Of blocks."""
    _others: int = 0
    """Machines that ask it for blocks as well, as it said."""
    _others_at: float = -math.inf
    _late: int = 0
    _pause_s: float = 0.0
    _paused_at: float = -math.inf
    _asked_again_at: float = -math.inf

    def paused_s(self, now: float) -> float:
        """For how many seconds it is not asked; 0 where it is."""
        return max(0.0, self._asked_again_at - now)

    def asked_by(self, others: int, now: float) -> None:
        """It says how many other machines ask it for blocks."""
        self._others, self._others_at = others, now

    def knows_askers(self, now: float) -> bool:
        """Whether it has said of late how many others ask it."""
        return now < self._others_at + ALONE_S

    def is_all_ours(self, now: float) -> bool:
        """Whether it has said of late that nobody else asks it."""
        return self.knows_askers(now) and not self._others

    def answered(self, round_trip_s: float = 0.0) -> None:
        """It answered; `round_trip_s`: after so long, where the question was a short one."""
        self.trouble, self.is_distrusted = "", False
        self._pause_s, self._asked_again_at, self._late = 0.0, -math.inf, 0
        if round_trip_s:
            before = self.round_trip_s or round_trip_s
            self.round_trip_s = before + _SMOOTH * (round_trip_s - before)

    def failed(self, why: str, now: float, began: float, after_s: float = 0.0) -> None:
        """A question that was put at `began` got no answer. `after_s`: how long it asked to be left alone."""
        self.failures += 1
        if not self.is_distrusted or self.paused_s(now) == 0:
            self.trouble, self.is_distrusted = why, False
        if began >= self._paused_at:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S) or FIRST_PAUSE_S
            self._paused_at = now
        self._asked_again_at = max(self._asked_again_at, self._paused_at + self._pause_s, now + after_s)

    def late(self, why: str, now: float, began: float, within_s: float) -> None:
        """A question that was put at `began` got no answer within its time. A machine may be farther away than a short
        question can wait: only several of those in a row are its fault."""
        self._late += 1
        if within_s >= _FAIR_S or self._late >= _LATE_MOST:
            self._late = 0
            self.failed(why, now, began)

    def distrusted(self, why: str, now: float) -> None:
        """It lied, or is not one of the site."""
        self.failures += 1
        self.trouble, self.is_distrusted = why, True
        self._asked_again_at = now + DISTRUST_S

    @property
    def is_on_trial(self) -> bool:
        """Whether it failed the last time: one question is enough to see whether it answers again."""
        return self._pause_s > 0 or self.is_distrusted
