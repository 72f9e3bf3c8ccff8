"""Which machines ask this one for blocks, for themselves: each is told how many others there are.

A machine that is the only one to ask has all leaves straight from here; where there are more, each leaf is sent once,
to its owner. What an owner asks for on behalf of another does not count.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ipfsfs.origins.peer_list import PEERS_MOST
from ipfsfs.origins.standing import ALONE_S


@dataclass(slots=True)
class Askers:
    """By host, when each asked last. Times are those of one clock that never goes back, in seconds."""

    most: int = PEERS_MOST
    _asked: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def note(self, host: str, now: float) -> None:
        """A machine asks, for itself."""
        self._asked.pop(host, None)
        self._asked[host] = now
        if len(self._asked) > self.most:
            self._asked.popitem(last=False)

    def others(self, host: str, now: float) -> int:
        """How many other machines have asked of late."""
        while self._asked and (oldest := next(iter(self._asked.items())))[1] < now - ALONE_S:
            del self._asked[oldest[0]]
        return len(self._asked) - (host in self._asked)
