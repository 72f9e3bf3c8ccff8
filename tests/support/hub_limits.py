"""How fast the local Hub sends: limits for each address that asks, and for all of them together."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """At most so many bytes a second, together, for all that wait for it."""

    rate: float
    free_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, count: int) -> None:
        """Return when so many bytes more may go."""
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + count / self.rate
            due = self.free_at
        time.sleep(max(0.0, due - time.monotonic()))


@dataclass(slots=True)
class Limits:
    """None at first."""

    each: int = 0
    _all: Pace | None = None
    _by_client: dict[str, Pace] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, each: int, all_: int) -> None:
        """Bytes a second for each address, and for all together; 0 for no limit."""
        with self._lock:
            self.each, self._by_client = each, {}
            self._all = Pace(all_) if all_ else None

    def paces(self, client: str) -> list[Pace]:
        """What holds back what is sent to an address."""
        with self._lock:
            paces = [self._all] if self._all is not None else []
            if self.each:
                paces.append(self._by_client.setdefault(client, Pace(self.each)))
            return paces
