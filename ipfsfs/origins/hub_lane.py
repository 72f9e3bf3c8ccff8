"""The Hub beside peers: when a leaf is had from it though a machine may give it, and how quick both were seen to be.

One leaf shows how quick the Hub is. While peers are slower, leaves are shared between both by their rates; a few at
first, more as they come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubBlocks, HubFiles
from ipfsfs.origins.ordered import Given
from ipfsfs.origins.standing import Rate

_QUICKER: Final = 1.5
"""How many times quicker than peers the Hub has to be before it gives more than one leaf: it is to be spared."""
_PROBED_AGAIN_S: Final = 30.0
_FIRST: Final = 2
"""Leaves that are had from the Hub at once, to begin with."""


@dataclass(slots=True, eq=False)
class HubLane:
    """`from_peers`: what all peers give together, told by who asks them."""

    hub: HubFiles
    from_peers: Rate = field(default_factory=Rate)
    _from_hub: Rate = field(default_factory=Rate)
    _rate: float = 0.0
    """What the Hub was seen to give; 0 while that is not known."""
    _probed_at: float = -math.inf
    _width: int = _FIRST
    _is_quicker: bool = False

    def is_due(self, now: float) -> bool:
        """Whether the Hub is to give one more leaf. Whoever is told so has to have one by `block`."""
        hub, peers = self._from_hub.known(now) or self._rate, self.from_peers.known(now)
        if not hub:
            if self._from_hub.asking or now < self._probed_at + _PROBED_AGAIN_S:
                return False
            self._probed_at = now
            return True
        self._is_quicker = hub > peers * (1 / _QUICKER if self._is_quicker else _QUICKER)
        if not self._is_quicker or self._from_hub.asking >= self._width:
            return False
        return not peers or (self._from_hub.asking + 1) / hub <= (self.from_peers.asking + 1) / peers

    async def block(self, file: HubFile, cid: bytes, offset: int, length: int) -> Given:
        """A leaf, compared with its CID. Raises OriginError; then the Hub is not asked for a while."""
        blocks = Checked(HubBlocks(self.hub, file, {cid: (offset, length)}))
        came = 0
        self._from_hub.begins(trio.current_time())
        try:
            block = await blocks.block(cid)
            came = len(block)
        finally:
            self._from_hub.ends(trio.current_time(), came)
            now = trio.current_time()
            if came:
                self._width += 1
                self._rate = self._from_hub.known(now) or self._rate
            else:
                self._rate, self._probed_at, self._width = 0.0, now, _FIRST
        return Given(block, blocks.name)
