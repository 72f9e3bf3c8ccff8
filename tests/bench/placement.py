"""Who asks whom in a site of 64 machines, by simulation: the placement code as it is, over a network that is reckoned.

    python -m tests.bench.placement

Each machine loads one file that one of them has. What is simulated is the wire and the Hub: a machine sends one block
after the other, at the rate of its link, and one that was lost lets callers wait. All else is the code of the program:
whom a leaf is asked of and what is done when it does not come (`PeerLoad`), what a *get* does (`RelayBlocks`).
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import trio
import trio.testing

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubFiles
from ipfsfs.origins.hub_lane import HubLane
from ipfsfs.origins.peer import Hints
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.rendezvous import owners
from ipfsfs.origins.standing import Standing
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.peer_leaves import PeerLeaves, PeerLoad
from ipfsfs.workers.fetcher.site_messages import PeerSource
from ipfsfs.workers.server.askers import Askers
from ipfsfs.workers.server.relay import Sought
from ipfsfs.workers.server.relay_blocks import RelayBlocks

MACHINES: Final = 64
LEAVES: Final = 256
"""Of 1 MiB each, as which 64 bytes stand here."""
_LEAF: Final = 64
_LINK_S: Final = 0.0084
"""A leaf over 1 Gbit/s."""
_HUB_S: Final = 0.0105
"""A leaf from a Hub that gives 100 MB/s in all."""
_ROUND_TRIP_S: Final = 0.0005
_LOST_S: Final = 3.0
"""How long a machine that was lost is waited for."""
_AT_ONCE: Final = 32
"""Leaves of a load that are asked for at the same time."""
_CONNECTIONS: Final = 16
_FILE: Final = HubFile("models", "org/name", "0" * 40, "model.safetensors")


@dataclass(slots=True, eq=False)
class Link:
    """What sends one block after the other."""

    block_s: float
    waiting: int = 0
    longest: int = 0
    sent: int = 0
    _turn: trio.Lock = field(default_factory=trio.Lock)

    async def send(self) -> None:
        """Send a block."""
        self.waiting += 1
        self.longest = max(self.longest, self.waiting)
        try:
            async with self._turn:
                await trio.sleep(self.block_s)
            self.sent += 1
        finally:
            self.waiting -= 1


@dataclass(slots=True, eq=False)
class SimulatedHub:
    """The Hub: all leaves, one after the other."""

    blocks: dict[int, bytes]
    link: Link = field(default_factory=lambda: Link(_HUB_S))
    name: str = "hub"

    async def range(self, file: HubFile, start: int, length: int) -> bytes:
        """As `HubFiles`."""
        await self.link.send()
        return self.blocks[start]


@dataclass(slots=True, eq=False)
class SimulatedMachine:
    """A machine: what it has, and what it does for others."""

    at: HostPort
    relay: RelayBlocks
    link: Link = field(default_factory=lambda: Link(_LINK_S))
    has: dict[bytes, bytes] = field(default_factory=dict)
    is_lost: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    askers: Askers = field(default_factory=Askers)

    async def have(self, block: bytes) -> bytes:
        """A block that is here."""
        self.asked["have"] += 1
        if block not in self.has:
            raise NotHeld("it is not here")
        await self.link.send()
        return self.has[block]

    async def get(self, block: bytes, sought: Sought) -> bytes:
        """A block that is here, or is had."""
        self.asked["get"] += 1
        found = self.has.get(block) or await self.relay.get(sought)
        if found is None:
            raise NotHeld("it is not here")
        await self.link.send()
        return found


@dataclass(slots=True, eq=False)
class SimulatedPeer:
    """One machine as another sees it: a `Peer` over a wire that is reckoned."""

    at: HostPort
    machine: SimulatedMachine
    by: str
    standing: Standing = field(default_factory=Standing)
    connections: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_CONNECTIONS))

    @property
    def name(self) -> str:
        """As `Peer`."""
        return f"peer {self.at}"

    @property
    def is_asked(self) -> bool:
        """As `Peer`."""
        return not self.standing.paused_s(trio.current_time())

    async def have(self, block: bytes, *, for_another: bool = False) -> bytes:
        """As `Peer`."""
        if not for_another:
            self._tell_askers()
        return await self._ask(lambda: self.machine.have(block))

    async def has(self, block: bytes, within_s: float) -> bool:
        """As `Peer`."""
        self.machine.asked["has"] += 1
        await trio.sleep(within_s if self.machine.is_lost else _ROUND_TRIP_S)
        if self.machine.is_lost:
            raise Unreachable("it does not answer")
        self._tell_askers()
        return True

    def _tell_askers(self) -> None:
        now = trio.current_time()
        self.machine.askers.note(self.by, now)
        self.standing.asked_by(self.machine.askers.others(self.by, now), now)

    async def get(self, block: bytes, hints: Hints) -> bytes:
        """As `Peer`."""
        holders = tuple(HostPort(host, int(port)) for host, _, port in (one.rpartition(":") for one in hints.holders))
        sought = Sought(block, hints.root, hints.offset, hints.length, holders, hints.on_hub)
        return await self._ask(lambda: self.machine.get(block, sought))

    async def is_alive(self) -> bool:
        """As `Peer`."""
        await trio.sleep(_LOST_S / 6 if self.machine.is_lost else _ROUND_TRIP_S)
        if self.machine.is_lost:
            self.standing.failed("it does not answer", trio.current_time(), trio.current_time())
        return not self.machine.is_lost

    async def _ask(self, ask: Callable[[], Awaitable[bytes]]) -> bytes:
        began, came = trio.current_time(), 0
        self.standing.rate.begins(began)
        try:
            async with self.connections:
                await trio.sleep(_ROUND_TRIP_S)
                if self.machine.is_lost:
                    await trio.sleep(_LOST_S)
                    self.standing.failed("it does not answer", trio.current_time(), began)
                    raise Unreachable("it does not answer")
                block = await ask()
            came = len(block)
            self.standing.answered()
            return block
        finally:
            self.standing.rate.ends(trio.current_time(), came)


@dataclass(slots=True, eq=False)
class SimulatedPeers:
    """The list of one machine, as `Peers`."""

    by: HostPort
    list_: Sequence[HostPort]
    machines: dict[HostPort, SimulatedMachine]
    token: bytes = b"a site's"
    known_: dict[HostPort, SimulatedPeer] = field(default_factory=dict)

    async def clients(self) -> list[SimulatedPeer]:
        """As `Peers`."""
        return [self.peer(at) for at in self.list_]

    def peer(self, at: HostPort) -> SimulatedPeer:
        """As `Peers`."""
        if at not in self.known_:
            self.known_[at] = SimulatedPeer(at, self.machines[at], str(self.by))
        return self.known_[at]

    @property
    def known(self) -> list[SimulatedPeer]:
        """As `Peers`."""
        return list(self.known_.values())

    def holder(self, name: str) -> SimulatedPeer:
        """As `Peers`."""
        host, _, port = name.rpartition(":")
        return self.peer(HostPort(host, int(port)))


@dataclass(slots=True, frozen=True)
class Outcome:
    """What came of it. `requests`: the mean and the most that a machine was asked. `queue`: the longest at a link.
    `origin`: bytes from the Hub, in files. `holder`: files that the holder sent. `took_s`: until all had it."""

    what: str
    requests: float
    most: int
    queue: int
    origin: float
    holder: float
    took_s: float

    def row(self) -> str:
        """Of a table."""
        cells = f"{self.requests:,.0f} | {self.most:,} | {self.queue} | {self.origin:.2f} | {self.holder:.2f}"
        return f"| {self.what} | {cells} | {self.took_s:.1f} s |"


def simulate(
    what: str, lost: int = 0, missing: float = 0.0, when_s: float = 0.0, machines: int = MACHINES, holders: int = 1
) -> Outcome:
    """A load by all machines at once. `lost`: machines that stop answering `when_s` after the beginning, the holder
    first where that is later. `missing`: the part of the list that each does not know, another one each."""

    async def run() -> Outcome:
        chance = random.Random(0)
        blocks = [chance.randbytes(_LEAF) for _ in range(LEAVES)]
        cids = [cid.raw_cid(hashlib.sha256(block).digest()) for block in blocks]
        places = [HostPort(f"10.0.{number // 250}.{number % 250 + 1}", 4780) for number in range(machines)]
        hub = SimulatedHub({number * _LEAF: block for number, block in enumerate(blocks)})
        site: dict[HostPort, SimulatedMachine] = {}
        seen: dict[HostPort, SimulatedPeers] = {}
        for at in places:
            listed = [one for one in places if one == at or chance.random() >= missing]
            seen[at] = SimulatedPeers(at, listed, site)
            site[at] = SimulatedMachine(at, RelayBlocks(cast(Peers, seen[at]), HubLane(cast(HubFiles, hub))))
        for at in places[:holders]:
            site[at].has = dict(zip(cids, blocks, strict=True))
        gone = places[:lost] if when_s else places[machines - lost :]
        loading = [at for at in places[holders:] if at not in gone]
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for at in loading:
                leaves = PeerLeaves(cast(Peers, seen[at]), HubLane(cast(HubFiles, hub)))
                load = leaves.load(PeerSource(b"root", LEAVES * _LEAF, tuple(map(str, places[:holders]))))
                nursery.start_soon(_load, load, cids, hub)
            await trio.sleep(when_s)
            for at in gone:
                site[at].is_lost = True
        asked = [site[at].asked.total() for at in places if at not in gone]
        return Outcome(
            what,
            sum(asked) / len(asked),
            max(asked),
            max(site[at].link.longest for at in places),
            hub.link.sent / LEAVES,
            site[places[0]].link.sent / LEAVES,
            trio.current_time() - began,
        )

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def _load(load: PeerLoad, cids: Sequence[bytes], hub: SimulatedHub) -> None:
    waiting = iter(enumerate(cids))

    async def work() -> None:
        for number, block in waiting:
            try:
                await load.given(block, number * _LEAF, _LEAF, [_FILE])
            except OriginError:
                await hub.range(_FILE, number * _LEAF, _LEAF)

    async with trio.open_nursery() as nursery:
        for _ in range(_AT_ONCE):
            nursery.start_soon(work)


def questions(blobs: int, machines: int = MACHINES) -> tuple[int, int]:
    """How many machines one asks about a load of so many blobs, and the most blobs that one of them is asked about."""
    places = [HostPort(f"10.0.0.{number + 1}", 4780) for number in range(machines)]
    asked = Counter(at for number in range(blobs) for at in owners(hashlib.sha256(b"%d" % number).digest(), places, 2))
    return len(asked), max(asked.values())


def outcomes() -> Iterator[Outcome]:
    """Of all that may become of a site."""
    yield simulate("nothing is lost")
    yield simulate("1 machine is lost before", lost=1)
    yield simulate("8 machines are lost before", lost=8)
    yield simulate("the holder is lost after 1 s", lost=1, when_s=1.0)
    yield simulate("the holder and 7 others are lost after 1 s", lost=8, when_s=1.0)
    yield simulate("each does not know one in ten", missing=0.1)
    yield simulate("each does not know one in ten, 8 are lost before", lost=8, missing=0.1)


def main() -> None:
    """Print the table."""
    write = sys.stdout.write
    write(f"{MACHINES} machines, {MACHINES - 1} of which load {LEAVES} leaves of 1 MiB at once, over 1 Gbit/s each\n\n")
    write("| | Requests a machine | most | Longest queue | From the Hub | From the holder | Took |\n")
    write("|---|---|---|---|---|---|---|\n")
    for outcome in outcomes():
        write(outcome.row() + "\n")
        sys.stdout.flush()
    for blobs in (1, 10, 100):
        asked, most = questions(blobs)
        write(f"\na load of {blobs} blobs: {asked} machines are asked, one of them about at most {most}\n")


if __name__ == "__main__":
    main()
