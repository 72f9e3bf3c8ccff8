"""How a peer fares: whether it is asked, how long it takes, and what it gave.

One that does not answer is left alone for a second, and twice as long after each further failure, up to a minute; one
that lies, or that is not known to be of the site, for a minute. Questions that fail beside each other lengthen that
once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ipfsfs.origins.paused import FIRST_PAUSE_S, LONGEST_PAUSE_S

DISTRUST_S: Final = 60.0
"""How long one is left alone that gave other bytes, or an answer that is not signed as it has to be."""
_SMOOTH: Final = 0.2
"""How much of an estimate is the newest sample."""
_STALE_S: Final = 10.0
"""An estimate so old says nothing any more."""

_FAIR_S: Final = 0.25
"""Time enough for an answer, however far away a machine is."""
_LATE_MOST: Final = 4


@dataclass(slots=True)
class Standing:
    """`trouble`: why it is not asked, or its last failure; empty once it answered. `leaves`, `gave`: blocks that it
    gave, and their bytes. `asking`: questions for blocks under way."""

    trouble: str = ""
    is_distrusted: bool = False
    round_trip_s: float = 0.0
    """Of short questions, smoothed; 0 while nothing is known."""
    leaves: int = 0
    gave: int = 0
    failures: int = 0
    asking: int = 0
    rate: float = 0.0
    """Bytes a second while it is asked for blocks, smoothed; 0 while nothing is known."""
    _late: int = 0
    _pause_s: float = 0.0
    _paused_at: float = -math.inf
    _asked_again_at: float = -math.inf
    _rated_at: float = -math.inf
    _busy_since: float = 0.0
    _came: int = 0
    """Bytes that came since then."""

    def paused_s(self, now: float) -> float:
        """For how many seconds it is not asked; 0 where it is."""
        return max(0.0, self._asked_again_at - now)

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

    def begins(self, now: float) -> None:
        """A block is asked for."""
        if not self.asking:
            self._busy_since, self._came = now, 0
        self.asking += 1

    def ends(self, now: float, came: int) -> None:
        """A block has come, of so many bytes, or has not (0)."""
        self.asking -= 1
        self._came += came
        if came:
            self.leaves += 1
            self.gave += came
        took_s = now - self._busy_since
        if took_s > 0 and (self._came or took_s > 1.0) and (not self.asking or took_s > 0.25 or came):
            self._sample(self._came / took_s, now)
            if took_s > 1.0:
                self._busy_since, self._came = now, 0

    def slower(self, rate: float, now: float) -> None:
        """It was seen to give no more than so many bytes a second."""
        if not self.known_rate(now) or rate < self.rate:
            self.rate, self._rated_at = rate, now

    def known_rate(self, now: float) -> float:
        """Bytes a second; 0 where nothing is known, or not any more."""
        return self.rate if now - self._rated_at < _STALE_S else 0.0

    def _sample(self, rate: float, now: float) -> None:
        before = self.known_rate(now)
        self.rate = rate if not before else before + _SMOOTH * (rate - before)
        self._rated_at = now
