"""Leaves from other machines: who is asked for which, and what is done while one of them is slow.

A holder that nobody else asks is asked by *have*. Else the owner of each leaf, by rendezvous hashing, is asked to *get*
it: so all machines that load a file ask one of them for the same leaf, and only that one asks a holder. Where who is
asked fails, or is slow for what is usual, others are asked as well, and the first answer counts. A machine that would
take much longer than others for its share gets less of it. A load that takes long is had from the Hub as well, once
that has been seen to be quicker than the peers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from ipfsfs.errors import FormatError, OriginError, Unreachable
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_lane import HubLane
from ipfsfs.origins.ordered import Given
from ipfsfs.origins.peer import Hints, Peer
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.race import Candidate, Usual, first
from ipfsfs.origins.rendezvous import owners
from ipfsfs.origins.standing import ALONE_S, Rate
from ipfsfs.workers.fetcher.runs import Run, Runs
from ipfsfs.workers.fetcher.site_messages import PeerSource
from ipfsfs.workers.fetcher.stored import IMPORTED, StoredFirst
from ipfsfs.workers.fetcher.table import Leaf

_OTHERS_LEAST: Final = 2
_RANKED: Final = 3
"""Machines that a leaf may be got by: its owner, and who owns it where that one is slow."""
_GETTING: Final = 2
"""Of those, asked for one leaf: the second asks a holder once for all that were not content with the first."""
_HOLDERS: Final = 2
"""Holders that are asked for one leaf."""
_MUCH_SLOWER: Final = 6.0
_BEARABLE_S: Final = 0.1
"""A machine that gives a leaf within this holds nothing up, however quick others are: it is better that all ask the
same machine for a leaf."""
_RATED_S: Final = 0.25
_FEW: Final = 8
_LOOK_S: Final = 1.5
_LOOK_ALONE_S: Final = 0.6
"""The same where nobody else loads: what one machine has from the Hub then is had once."""
_LONG_S: Final = 5.0
"""A load that will have taken longer than this, as is seen after `_LOOK_S`, has the Hub looked at."""
_ASKERS_S: Final = 0.5
"""How long a holder may take to say how many ask it."""
_NEAR_S: Final = 0.04
"""A holder that answers a short question within this gives all that its link does by few connections, too."""
_LOADS_MOST: Final = 256
_IDLE_S: Final = 10.0
"""A load that nothing was asked of for so long begins anew."""


@dataclass(slots=True, eq=False)
class PeerLeaves:
    """What is known of the loads that go on, and how long a leaf usually takes."""

    peers: Peers
    lane: HubLane | None
    count: int = 1
    """Machines in the list."""
    usual: Usual = field(default_factory=lambda: Usual(first_s=2.0, least_s=1.5, last_s=6.0))
    _rate: float = 0.0
    _rated_at: float = -math.inf
    _loads: dict[tuple[bytes, int], PeerLoad] = field(default_factory=dict)

    def load(self, source: PeerSource) -> PeerLoad:
        """The load of a file."""
        key = source.root, source.size
        load = self._loads.pop(key, None) or PeerLoad(self, source.root, source.size)
        self._loads[key] = load
        if len(self._loads) > _LOADS_MOST:
            del self._loads[next(iter(self._loads))]
        if source.holders:
            load.holders = source.holders
        return load

    def usual_rate(self, now: float) -> float:
        """Bytes a second that machines usually give; 0 while nothing is known."""
        if now > self._rated_at + _RATED_S:
            rates = [rate for peer in self.peers.known if (rate := peer.standing.rate.known(now))]
            self._rate, self._rated_at = statistics.median_high(rates) if rates else 0.0, now
        return self._rate


@dataclass(slots=True, eq=False)
class PeerLoad:
    """A file that leaves are fetched of. `holders`: by HOST:PORT, who has it."""

    leaves: PeerLeaves
    root: bytes
    size: int
    holders: Sequence[str] = ()
    _began: float = field(default_factory=trio.current_time)
    _asked_at: float = field(default_factory=trio.current_time)
    _came: int = 0
    """Bytes that came since then."""
    _looked_at: float = -math.inf
    """When holders were asked last how many others ask them."""
    _is_alone: bool = False
    """Whether none did, the last time."""
    _is_near: bool = False
    """Whether those that none did answer short questions at once."""

    async def given(
        self, cid: bytes, offset: int, length: int, on_hub: Sequence[HubFile], run: Run | None = None
    ) -> Given:
        """A block, compared with its CID. `length`: of the leaf that it is, which lies at `offset`; 0 for a node.
        `run`: what may be asked for with it of one machine. Raises NotHeld where no machine has it, Unreachable,
        OriginError."""
        now = trio.current_time()
        if now > self._asked_at + _IDLE_S:
            self._began, self._came = now, 0
        self._asked_at = now
        given = await self._given(Leaf(offset, length, cid), on_hub, run)
        self._came += len(given.block) + (0 if run is None else run.brought)
        return given

    async def _given(self, leaf: Leaf, on_hub: Sequence[HubFile], run: Run | None) -> Given:
        lane = self.leaves.lane
        from_hub = _FromHub(self, lane, on_hub[0], leaf) if lane is not None and on_hub and leaf.length else None
        if from_hub is not None and from_hub.is_due():
            if run is not None:
                run.done.set()  # who waits for what lies behind it is to ask for that
            with suppress(OriginError):
                return await from_hub.ask()
        hints = Hints(self.root, leaf.offset, leaf.length, tuple(self.holders), _anyones(on_hub))
        candidates = await self._candidates(leaf.cid, hints, run)
        rate, came = Rate() if lane is None else lane.from_peers, 0
        rate.begins(trio.current_time())
        try:
            given = await first(leaf.cid, candidates, self.leaves.usual, from_hub)
            came = len(given.block) if lane is None or given.by != lane.hub.name else 0
            came += 0 if run is None else run.brought
            return given
        finally:
            rate.ends(trio.current_time(), came)

    @property
    def takes_runs(self) -> bool:
        """Whether leaves come straight from a holder that is near: one that is far gives more by many connections."""
        return self._is_alone and self._is_near

    async def _candidates(self, cid: bytes, hints: Hints, run: Run | None) -> list[Candidate]:
        """Who is asked, in this order."""
        peers = self.leaves.peers
        clients = await peers.clients()
        self.leaves.count = len(clients)
        asked = [peer.at for peer in clients if peer.is_asked]
        others = [at for at in asked if str(at) not in self.holders]
        if len(others) >= max(_OTHERS_LEAST, len(self.holders)):
            asked = others  # holders have enough to do: each leaf is had of them once
        ranked = [peers.peer(at) for at in owners(cid, asked, _RANKED)]
        getting = self._quickest_first(ranked, hints.length)[:_GETTING]
        holding = self._quickest_first([peer for peer in self._holding(cid) if peer.is_asked], hints.length)
        # A node is small, and had from the Hub by nobody.
        ours = (await self._all_ours(holding) if hints.length else holding)[:_HOLDERS]
        getting = [peer for peer in getting if peer not in ours]
        last = [] if ours else [peer for peer in holding if peer not in getting][:_HOLDERS]
        return [
            *(Candidate(peer, partial(self._have, peer, cid, run)) for peer in ours),
            *(Candidate(peer, partial(peer.get, cid, hints)) for peer in getting),
            *(Candidate(peer, partial(peer.have, cid)) for peer in last),
        ]

    async def _have(self, peer: Peer, cid: bytes, run: Run | None) -> bytes:
        """A block that a machine has; the leaves of a run that come with it are put by."""
        if run is None:
            return await peer.have(cid)
        block, *others = await peer.have_run(self.root, run.at, run.leaves)
        for (other, _), came in zip(run.leaves[1:], others, strict=False):
            run.put(other, Given(came, peer.name))
        return block

    async def _all_ours(self, holding: list[Peer]) -> list[Peer]:
        """The holders that no other machine asks. Once in a while some are asked for that, by one leaf for all."""
        now = trio.current_time()
        if now > self._looked_at + ALONE_S / 2:
            self._looked_at = now
            for peer in holding[:_HOLDERS]:
                if not peer.standing.knows_askers(now) or not peer.standing.round_trip_s:
                    with suppress(OriginError):
                        await peer.has(self.root, _ASKERS_S)
        now = trio.current_time()
        found = [peer for peer in holding if peer.standing.is_all_ours(now)]
        self._is_alone = bool(found)
        self._is_near = all(0 < peer.standing.round_trip_s < _NEAR_S for peer in found)
        return found

    def _holding(self, cid: bytes) -> list[Peer]:
        """The holders, in an order that is another one for each leaf."""
        peers = self.leaves.peers
        found = []
        for name in self.holders:
            try:
                found.append(peers.holder(name))
            except FormatError:
                continue
        return [peers.peer(at) for at in owners(cid, [peer.at for peer in found], len(found))]

    def _quickest_first(self, ranked: list[Peer], length: int) -> list[Peer]:
        """The same, but those at the end that are much slower than is usual. One that was slow, and of which nothing is
        known any more, is tried with one leaf at a time."""
        now = trio.current_time()
        usual = self.leaves.usual_rate(now)

        def is_slow(peer: Peer) -> bool:
            rate = peer.standing.rate
            known = rate.known(now)
            if not known:
                return rate.was_slow and rate.asking > 0
            return known * _MUCH_SLOWER < usual and length / known > _BEARABLE_S

        return sorted(ranked, key=is_slow)

    def is_long(self, now: float) -> bool:
        """Whether the load is seen to take long."""
        took_s = now - self._began
        # Of many machines each may take leaves from the Hub for itself alone: owners have them from there once for all.
        look_s = _LOOK_ALONE_S if self._is_alone else _LOOK_S * max(1.0, self.leaves.count / _FEW)
        return took_s > look_s and took_s * self.size > _LONG_S * self._came


@dataclass(slots=True, frozen=True)
class _FromHub:
    """The `LastResort` for one leaf."""

    load: PeerLoad
    lane: HubLane
    file: HubFile
    leaf: Leaf

    def is_due(self) -> bool:
        """As `LastResort`."""
        now = trio.current_time()
        return self.load.is_long(now) and self.lane.is_due(now)

    async def ask(self) -> Given:
        """As `LastResort`."""
        return await self.lane.block(self.file, self.leaf.cid, self.leaf.offset, self.leaf.length)


@dataclass(slots=True, eq=False)
class PeersFirst(StoredFirst):
    """Other machines before all origins, for one file. `where`: by CID, where its leaves lie and how long they are."""

    load: PeerLoad
    where: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)
    on_hub: Sequence[HubFile] = ()
    runs: Runs = field(default_factory=lambda: Runs({}))

    async def given(self, cid: bytes) -> Given:
        """As `Ordered`."""
        stored = self.blocks.read(cid)
        if stored is not None:
            return Given(stored, IMPORTED)
        other = self.runs.of(cid)
        if other is not None and (taken := await other.taken(cid)) is not None:
            return taken
        try:
            if other is None and cid in self.runs.where and self.load.takes_runs:
                with self.runs.begun(cid) as run:
                    return await self.load.given(cid, *self.where[cid], self.on_hub, run)
            return await self.load.given(cid, *self.where.get(cid, (0, 0)), self.on_hub)
        except OriginError as error:
            from_peers = error
        try:
            given = await self.origin.given(cid)
        except OriginError as error:
            kind = Unreachable if from_peers.retry else type(error)
            text = f"{from_peers}; {error}" if str(from_peers) else str(error)
            raise kind(text, hint=error.hint, said=(*from_peers.said, *error.said)) from error
        return Given(given.block, given.by, (*from_peers.said, *given.refused))


def _anyones(on_hub: Sequence[HubFile]) -> HubFile | None:
    """The file on the Hub that another machine may be told of: it asks without a token."""
    return next((file for file in on_hub if not file.with_token), None)
