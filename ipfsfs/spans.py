"""Which part of a download is there already: the spans written, and the prefix without a gap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field


@dataclass(slots=True)
class Spans:
    """The spans of a file that were written, merged. `prefix` is how many bytes from the start are there."""

    prefix: int = 0
    _starts: list[int] = field(default_factory=list)
    _ends: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many bytes are there, wherever."""
        return self.prefix + sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> bool:
        """Note a write of bytes `start` to `end`. Returns whether it changed bytes of the prefix."""
        rewritten = start < self.prefix
        if start <= self.prefix:
            self.prefix = max(self.prefix, end)
            while self._starts and self._starts[0] <= self.prefix:
                self.prefix = max(self.prefix, self._ends[0])
                del self._starts[0], self._ends[0]
            return rewritten
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        return rewritten

    def cut(self, size: int) -> bool:
        """Note a truncation. Returns whether it took bytes of the prefix away."""
        shortened = size < self.prefix
        self.prefix = min(self.prefix, size)
        while self._ends and self._ends[-1] > size:
            if self._starts[-1] >= size:
                del self._starts[-1], self._ends[-1]
            else:
                self._ends[-1] = size
        return shortened
