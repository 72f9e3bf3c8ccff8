"""How another machine's download gets on, on this machine's clock, and whether this machine would be quicker alone.

The holder of a lease says how much it has every half second. Its rate is that up to its last progress: where it makes
none, the lease ends by itself (its machine is gone) or that is noticed by the silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOOK_S: Final = 1.0
"""How long a holder is watched before anything is concluded."""
_SILENT_S: Final = 6.0
"""A holder that makes no progress for so long, though it says that it goes on, is not waited for. Longer than a lease
lasts whose holder is gone: then the next machine is to have that, and not all of them at once."""
_SOON_S: Final = 1.0
"""What comes within this time is waited for, whatever the Hub's rate is."""
_SLOWER: Final = 2.0
"""A machine waits unless the Hub would give it the whole in less than the rest divided by this: what is known of both
rates is a guess, and two downloads at once slow each other down."""
_SEALING_S: Final = 10.0
_SEALED: Final = 50 << 20
"""How long a holder that has all of it may take to seal and announce it: so long, and a second for so many bytes."""
_BLIND_S: Final = 60.0
"""How long a holder is waited for where it is not known how fast the Hub would be."""
_WORD_S: Final = 3.0
"""For how long a holder's own word of its rate counts: from then on what was seen is enough."""
_LARGE: Final = 32 << 20
"""Bytes. For less the Hub is not asked how fast it is: the answer would cost a good part of them."""


@dataclass(slots=True)
class Pace:
    """What was seen of one lease. Times are of the caller's clock (s), `size` is -1 where it is not known."""

    since: float
    size: int
    done: int = 0
    word: float = 0.0
    """The rate that the holder says (bytes/s)."""
    _first: tuple[float, int] | None = None
    _last: tuple[float, int] = (0.0, 0)

    def note(self, now: float, done: int, word: float) -> None:
        """The holder has so many bytes."""
        if self._first is None or done < self.done:
            self._first = now, done
        if self._last[0] == 0.0 or done != self.done:
            self._last = now, done
        self.done, self.word = done, word

    def rate(self, now: float) -> float:
        """Bytes a second, up to the last progress; 0 where there was none yet."""
        if self._first is None:
            return 0.0
        seconds, count = self._last[0] - self._first[0], self._last[1] - self._first[1]
        seen = count / seconds if seconds > 0 else 0.0
        return max(seen, self.word) if now < self.since + _WORD_S else seen or (self.word if self.done else 0.0)

    @property
    def is_complete(self) -> bool:
        """Whether the holder has all of it, as far as is known: it is about to say so to all."""
        return 0 <= self.size <= self.done

    def left_s(self, now: float) -> float:
        """How long the holder needs yet; 0 where that cannot be told."""
        rate = self.rate(now)
        return max(0, self.size - self.done) / rate if rate > 0 and self.size >= 0 else 0.0

    def needs_hub_rate(self, now: float) -> bool:
        """Whether it matters how fast the Hub would be."""
        return now >= self.since + LOOK_S / 2 and self.size - self.done >= _LARGE and self.left_s(now) > _SOON_S

    def is_too_slow(self, now: float, hub_rate: float | None) -> bool:
        """Whether this machine does better to go on alone. `hub_rate`: bytes a second that it would have from the Hub,
        None where that is not known."""
        silent_s = now - max(self._last[0], self.since)
        if self.is_complete:
            return silent_s > _SEALING_S + self.size / _SEALED
        if now < self.since + LOOK_S:
            return False
        if silent_s >= _SILENT_S:
            return True
        rate = self.rate(now)
        if hub_rate is None:
            return now > self.since + _BLIND_S
        if rate <= 0:
            return False
        if self.size < 0:
            return rate * _SLOWER < hub_rate
        left = self.left_s(now)
        return left > _SOON_S and left > _SLOWER * self.size / hub_rate
