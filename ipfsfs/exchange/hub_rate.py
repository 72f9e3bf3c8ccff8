"""How fast the Hub is from here: as this machine's own downloads were of late, or one range of a file."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.workers.fetcher.client import Fetcher

log = logging.getLogger(__name__)

_HOLDS_S: Final = 300.0
"""How long it holds good how fast the Hub was."""
_WATCHED_S: Final = 1.0
"""How long a download is watched before it says anything."""
_PROBE: Final = 1 << 20
"""Bytes that are had from the Hub to see how fast it is."""
_AGAIN_S: Final = 30.0
"""How long a Hub that did not say is left alone."""
_MOST: Final = 1_024


@dataclass(slots=True)
class HubRate:
    """Bytes a second."""

    fetcher: Fetcher
    _is_probing: bool = False
    _failed: float = -math.inf
    """When it did not say."""
    _rate: float = 0.0
    _seen: float = -_HOLDS_S
    _grown: dict[bytes, tuple[float, int]] = field(default_factory=dict)
    """By sha256 of what is downloaded, when it was seen first, and how many bytes it had then."""

    def known(self, now: float) -> float | None:
        """The rate; None where none was seen of late."""
        return self._rate if now < self._seen + _HOLDS_S else None

    def may_probe(self, now: float) -> bool:
        """Whether it may be asked for a range: it is not being asked, and did not fail just now."""
        return not self._is_probing and now > self._failed + _AGAIN_S

    def note(self, sha256: bytes, now: float, done: int) -> None:
        """A download of a client has so many bytes."""
        if len(self._grown) > _MOST:
            self._grown.clear()
        since, had = self._grown.setdefault(sha256, (now, done))
        if done < had:
            self._grown[sha256] = now, done
        elif now >= since + _WATCHED_S and done - had > _PROBE:
            self._rate, self._seen = (done - had) / (now - since), now

    def ended(self, sha256: bytes) -> None:
        """A download is over."""
        self._grown.pop(sha256, None)

    async def probe(self, file: HubFile) -> None:
        """Ask for one range of a file, where `may_probe` allows it: of two that are begun at once, one does so."""
        if not self.may_probe(trio.current_time()):
            return
        self._is_probing = True
        try:
            self._rate, self._seen = await self.fetcher.hub_rate(file, _PROBE), trio.current_time()
        except IpfsfsError as error:
            self._failed = trio.current_time()
            log.info("the Hub does not say how fast it is: %s", error)
        finally:
            self._is_probing = False
