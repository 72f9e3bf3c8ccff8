"""Blocks had for other machines: from the holders that they name, else from the Hub, as anyone may have them.

A block that several ask for is had once, and kept in memory for a while: so a holder sends each leaf to one machine of
the site, and the Hub does. Holders are asked by *have*, which they never pass on (H45). The Hub is this machine's own,
asked without a token: nobody has anything through this machine that the Hub would refuse them. Where no signature says
who asks, only machines of the list are holders: nobody else has this one connect to where he likes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from ipfsfs.errors import FormatError, OriginError
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_lane import HubLane
from ipfsfs.origins.ordered import Given
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.race import Candidate, Usual, first
from ipfsfs.origins.rendezvous import owners
from ipfsfs.origins.standing import Rate
from ipfsfs.workers.server.relay import Sought
from ipfsfs.workers.server.totals import Totals

CACHE_MAX: Final = 128 << 20
"""Bytes of blocks that are kept."""
_AT_ONCE: Final = 24
"""Blocks that are had at the same time."""
_WAITING_MOST: Final = 512
_LONG_S: Final = 1.0
"""A leaf that takes longer has the Hub looked at: sooner than by those who ask for it, so that it is had once."""
_WITHIN_S: Final = 18.0
"""An asker waits for 20."""


@dataclass(slots=True)
class BlockCache:
    """The blocks used last, up to a bound in bytes."""

    most: int = CACHE_MAX
    _blocks: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    _size: int = 0

    def get(self, cid: bytes) -> bytes | None:
        """A block, if it is kept."""
        block = self._blocks.get(cid)
        if block is not None:
            self._blocks.move_to_end(cid)
        return block

    def put(self, cid: bytes, block: bytes) -> None:
        """Keep a block; those that were not used for longest go."""
        if cid in self._blocks or len(block) > self.most:
            return
        self._blocks[cid] = block
        self._size += len(block)
        while self._size > self.most:
            self._size -= len(self._blocks.popitem(last=False)[1])

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return self._size


@dataclass(slots=True)
class _Asked:
    """A block that is being had, as one asker says; `is_in_vain`: nobody whom that one named gave it."""

    sought: Sought
    done: trio.Event = field(default_factory=trio.Event)
    is_in_vain: bool = False


@dataclass(slots=True, eq=False)
class RelayBlocks:
    """The `Relay` of a machine that shares. `lane`: None where no Hub is to be asked for others."""

    peers: Peers
    lane: HubLane | None
    cache: BlockCache = field(default_factory=BlockCache)
    totals: Totals = field(default_factory=Totals)
    _usual: Usual = field(default_factory=lambda: Usual(first_s=1.0, least_s=1.0, last_s=1.5))
    """Shorter than those who ask are patient: they are not to ask another machine for what is on its way."""
    _asked: dict[bytes, _Asked] = field(default_factory=dict)
    _at_once: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))
    _waiting: int = 0

    async def get(self, sought: Sought) -> bytes | None:
        """As `Relay`."""
        if self._waiting >= _WAITING_MOST:
            raise trio.WouldBlock
        self._waiting += 1
        try:
            with trio.fail_after(_WITHIN_S):
                return await self._once(sought)
        finally:
            self._waiting -= 1

    async def _once(self, sought: Sought) -> bytes | None:
        """The block, had once for all who ask for it at the same time."""
        while (block := self.cache.get(sought.cid)) is None:
            if (other := self._asked.get(sought.cid)) is not None:
                await other.done.wait()
                if other.is_in_vain and _names_nobody_else(sought, other.sought):
                    return None
                continue
            asked = self._asked[sought.cid] = _Asked(sought)
            try:
                async with self._at_once:
                    block = await self._have(sought)
                asked.is_in_vain = block is None
                return block
            finally:
                del self._asked[sought.cid]
                asked.done.set()
        return block

    async def _have(self, sought: Sought) -> bytes | None:
        """From a holder, else from the Hub; None where neither gives it."""
        lane = self.lane
        rate = Rate() if lane is None else lane.from_peers
        from_hub = None if lane is None or sought.hub is None else _FromHub(lane, sought, sought.hub)
        named = [at for at in sought.holders if self.peers.token is not None or self.peers.addresses.has(*at)]
        holders = map(self.peers.peer, owners(sought.cid, named, len(named)))
        candidates = [
            Candidate(peer, partial(peer.have, sought.cid, for_another=True)) for peer in holders if peer.is_asked
        ]
        came = 0
        rate.begins(trio.current_time())
        try:
            given = await first(sought.cid, candidates, self._usual, from_hub)
            if lane is not None and given.by == lane.hub.name:
                self.totals.had_from_hub += len(given.block)
            else:
                came = len(given.block)
                self.totals.had_from_holders += came
        except (OriginError, FormatError):
            return None
        finally:
            rate.ends(trio.current_time(), came)
        self.cache.put(sought.cid, given.block)
        return given.block


@dataclass(slots=True)
class _FromHub:
    """The `LastResort` for one leaf."""

    lane: HubLane
    sought: Sought
    file: HubFile
    _began: float = field(default_factory=trio.current_time)

    def is_due(self) -> bool:
        """As `LastResort`."""
        now = trio.current_time()
        return now > self._began + _LONG_S and self.lane.is_due(now)

    async def ask(self) -> Given:
        """As `LastResort`."""
        return await self.lane.block(self.file, self.sought.cid, self.sought.at, self.sought.length)


def _names_nobody_else(sought: Sought, before: Sought) -> bool:
    """Whether all whom an asker names were asked before."""
    return set(sought.holders) <= set(before.holders) and sought.hub in (None, before.hub)
