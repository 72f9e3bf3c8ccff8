"""How other machines' downloads get on, on this machine's clock, and whether this machine would be quicker alone.

The holder of a lease says how much it has every half second. That is compared for a load, not for a file: a client
downloads eight files at once, which share the holder's link, and would share this machine's. It also writes in pieces
of 10 MB: a file that has not grown for seconds is no sign of anything.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

LOOK_S: Final = 1.0
"""How long a holder is watched before anything is concluded."""
SILENT_S: Final = 90.0
"""A download that makes no progress for so long, though its holder says that it goes on, is not waited for. Longer than
a holder itself holds on to such a one: then the next machine is to have the lease, and not all of them at once."""
_SOON_S: Final = 1.0
"""What comes within this time is waited for, whatever the Hub's rate is."""
_SLOWER: Final = 2.0
"""A machine waits unless the Hub would give it the whole in less than the rest divided by this: what is known of both
rates is a guess, and two downloads at once slow each other down."""
_SURELY: Final = 1.25
"""The same where nothing was seen to come, and so only the most is known that can have come unseen."""
_SEALING_S: Final = 10.0
_SEALED: Final = 50 << 20
"""How long a holder that has all of it may take to seal and announce it: so long, and a second for so many bytes."""
_BLIND_S: Final = 60.0
"""How long a holder is waited for where it is not known how fast the Hub would be."""
_BLIND: Final = 10e6
"""Bytes a second, at which it is waited for even so."""
_WORD_S: Final = 3.0
"""For how long a holder's own word of its rate counts: from then on what was seen is enough."""
_WINDOW_S: Final = 30.0
"""What was seen longer ago says nothing of the rate now."""
_PIECE: Final = 10_000_000
"""Bytes. The client of the Hub writes so many at once: as many may have come of each file and not be seen."""
_LARGE: Final = 32 << 20
"""Bytes. For less the Hub is not asked how fast it is, for the answer would cost a good part of them, before the holder
was waited for so long."""
_LONG_S: Final = 10.0


@dataclass(slots=True)
class Pace:
    """What was seen of one lease. Times are of the caller's clock (s), `size` is -1 where it is not known."""

    since: float
    size: int
    done: int = 0
    word: float = 0.0
    """The rate that the holder says (bytes/s)."""
    noted: float = -math.inf
    """When its holder was heard of last."""
    _grown: float = 0.0
    """When it grew last."""

    def note(self, now: float, done: int, word: float) -> int:
        """The holder has so many bytes; returns how many more that are than before."""
        is_first = self.noted == -math.inf
        more = 0 if is_first else max(0, done - self.done)
        if is_first or done != self.done:
            self._grown = now
        self.noted, self.done, self.word = now, done, word
        return more

    @property
    def is_complete(self) -> bool:
        """Whether the holder has all of it, as far as is known: it is about to say so to all."""
        return 0 <= self.size <= self.done

    def is_late(self, now: float) -> bool:
        """Whether it does not get on, or is not announced though it is complete."""
        silent_s = now - max(self._grown, self.since)
        return silent_s > (_SEALING_S + self.size / _SEALED if self.is_complete else SILENT_S)


@dataclass(slots=True)
class Holder:
    """How fast another machine was seen to be, over all leases of it that are waited for here."""

    since: float
    noted: float = -math.inf
    _total: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)
    """When it grew, and how much it had brought by then."""

    def note(self, now: float, more: int) -> None:
        """One of its downloads was heard of, and has grown by so many bytes."""
        self.noted = now
        self._total += more
        if more or not self._seen:
            self._seen.append((now, self._total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW_S:
            self._seen.popleft()

    def most(self, now: float, unseen: int) -> float:
        """Bytes a second, at the very most, since it is watched."""
        return (self._total + unseen) / max(now - self.since, 1e-9)

    def rate(self, unseen: int) -> float:
        """Bytes a second, up to the last progress; 0 where there was none yet. `unseen`: how many more may have come
        by then."""
        (first, before), (last, after) = (self._seen[0], self._seen[-1]) if self._seen else ((0.0, 0), (0.0, 0))
        return (after - before + unseen) / (last - first) if last > first else 0.0


@dataclass(slots=True, frozen=True)
class Load:
    """What is waited for of one holder."""

    holder: Holder
    paces: Sequence[Pace]

    @property
    def _coming(self) -> list[Pace]:
        return [pace for pace in self.paces if not pace.is_complete]

    @property
    def done(self) -> int:
        """Bytes that the holder has of it."""
        return sum(pace.done for pace in self._coming)

    @property
    def left(self) -> int:
        """Bytes that it lacks, as far as sizes are known."""
        return sum(max(0, pace.size - pace.done) for pace in self._coming)

    def rate(self, now: float) -> float:
        """Bytes a second, by what was seen, or by what is said; else as many as can have come unseen."""
        return self._told(now) or self._most(now)

    def _most(self, now: float) -> float:
        unseen = sum(_PIECE if pace.size < 0 else min(_PIECE, pace.size - pace.done) for pace in self._coming)
        return self.holder.most(now, unseen)

    def _told(self, now: float) -> float:
        """By what was seen, or by what is said; 0 where there is neither."""
        coming = self._coming
        word = sum(pace.word for pace in coming)
        seen = self.holder.rate(_PIECE * sum(pace.done > 0 or now < self.holder.since + _WINDOW_S for pace in coming))
        if now < self.holder.since + _WORD_S:
            return max(seen, word)
        return seen or (word if self.done else 0.0)

    def left_s(self, now: float) -> float:
        """How long the holder needs yet; 0 where that cannot be told."""
        rate = self.rate(now)
        return self.left / rate if rate > 0 else 0.0

    def needs_hub_rate(self, now: float) -> bool:
        """Whether it matters how fast the Hub would be."""
        look_s = LOOK_S / 2 if self.left >= _LARGE else _LONG_S
        return now >= self.holder.since + look_s and self.left_s(now) > _SOON_S

    def is_too_slow(self, now: float, hub_rate: float | None) -> bool:
        """Whether this machine does better to go on alone. `hub_rate`: bytes a second that it would have from the Hub,
        None where that is not known."""
        coming = self._coming
        if not coming or now < self.holder.since + LOOK_S:
            return False
        rate = self.rate(now)
        if hub_rate is None:
            return now > self.holder.since + _BLIND_S and rate < _BLIND
        slower = _SLOWER if self._told(now) else _SURELY
        if any(pace.size < 0 for pace in coming):
            return rate * slower < hub_rate
        left_s = self.left_s(now)
        return left_s > _SOON_S and left_s > slower * sum(pace.size for pace in coming) / hub_rate
