"""What the fetching process asks other machines beside leaves: who has a blob, who downloads it, and how they fare.

A question for a blob goes to its two owners, by rendezvous hashing of its sha2-256. Nothing here waits long, and no
answer is as good as "nobody has it, download it".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import trio

from ipfsfs.errors import FormatError, NoOrigin, NotHeld, OriginError
from ipfsfs.origins import peer_messages
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubFiles
from ipfsfs.origins.peer import Peer
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peer_messages import About, Announced, Announcement, Found, Leases, Question, Wish
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.rendezvous import owners
from ipfsfs.printed import counted
from ipfsfs.workers.fetcher import site_messages
from ipfsfs.workers.fetcher.hub_jobs import hub_files
from ipfsfs.workers.fetcher.job import Answer, SendPart
from ipfsfs.workers.fetcher.site_messages import PeerState
from ipfsfs.workers.wire import Header

OWNERS: Final = 2
"""Machines that know of a blob."""
_BATCH: Final = 1_024
"""Blobs of one message: the answer has room for all of them."""
_FIRST_S: Final = 0.5
_SECOND_S: Final = 1.0
"""How long the two owners of a lease may take; the second asks the first itself, for 0.3 s."""
_CONFIRM_S: Final = 1.0
_ANNOUNCE_S: Final = 5.0
_ABOUT_S: Final = 2.0
_WIDTH: Final = 32


async def find(peers: Peers, sha256s: Sequence[bytes], within_s: float) -> dict[bytes, Found]:
    """Which of these blobs other machines have, by the word of their owners and, at this moment, of a holder."""
    looking = _Looking(peers)
    with trio.move_on_after(within_s):
        listed = await peers.listed()
        async with trio.open_nursery() as nursery:
            for owner, blobs in _by_owner(listed, sha256s, OWNERS).items():
                for part in _parts(blobs):
                    nursery.start_soon(looking.ask, peers.peer(owner), part, within_s, nursery)
    return looking.confirmed


@dataclass(slots=True)
class _Looking:
    """Blobs that are being looked for."""

    peers: Peers
    confirmed: dict[bytes, Found] = field(default_factory=dict)
    _tried: set[tuple[bytes, bytes, str]] = field(default_factory=set)
    _width: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_WIDTH))

    async def ask(self, owner: Peer, sha256s: Sequence[bytes], within_s: float, nursery: trio.Nursery) -> None:
        """Ask an owner, and then who it says has something."""
        try:
            said = await owner.post(
                peer_messages.ASK, Question(self.peers.settings.id, tuple(sha256s)).message(), within_s
            )
            found = peer_messages.found_in(said, sha256s)
        except (OriginError, FormatError):
            return
        for sha256, blob in found.items():
            nursery.start_soon(self.confirm, sha256, blob, within_s)

    async def confirm(self, sha256: bytes, blob: Found, within_s: float) -> None:
        """Have a holder say that it has a blob at this moment (H40)."""
        for at in self._turn(sha256, blob.holders):
            if sha256 in self.confirmed:
                return
            if (sha256, blob.root, at) in self._tried:
                continue
            self._tried.add((sha256, blob.root, at))
            async with self._width:
                try:
                    has = await self.peers.holder(at).has(blob.root, within_s)
                except (OriginError, FormatError):
                    has = False
            if has and sha256 not in self.confirmed:
                others = tuple(name for name in blob.holders if name != at)
                self.confirmed[sha256] = Found(blob.root, blob.size, (at, *others), blob.public)

    def _turn(self, sha256: bytes, holders: Sequence[str]) -> list[str]:
        """Holders in an order that is another one for each machine that asks: not all ask the same."""
        places = {at: self.peers.holder(at).at for at in holders}
        key = sha256 + self.peers.settings.id.encode()
        order = owners(key, list(places.values()), len(places))
        asked = {place: self.peers.peer(place).is_asked for place in order}
        return [str(place) for place in sorted(order, key=lambda place: not asked[place])]


async def lease(peers: Peers, wish: Wish) -> Leases:
    """What becomes of wishes for leases. Where no owner answers, a lease counts as granted."""
    leases = Leases()
    listed = await peers.listed()
    if not listed:
        leases.granted.update(sha256 for sha256, _ in wish.want)
        return leases
    async with trio.open_nursery() as nursery:
        for part in _wishes(listed, wish):
            nursery.start_soon(_ask_owners, peers, listed, part, leases)
    unconfirmed = await _confirm(peers, leases)
    if unconfirmed:
        again = await _without_gone(peers, listed, wish, unconfirmed)
        leases.granted |= again.granted
        leases.held |= again.held
    return leases


async def _ask_owners(peers: Peers, listed: Sequence[HostPort], wish: Wish, leases: Leases) -> None:
    """Ask the first owner, else the second, for wishes that have both in common."""
    asked = [sha256 for sha256, _ in wish.want]
    keys = (*asked, *(sha256 for sha256, _ in wish.hold), *wish.release, *(sha256 for sha256, _ in wish.gone))
    for place, owner in enumerate(owners(keys[0], listed, OWNERS)):
        within_s = _FIRST_S if place == 0 else _SECOND_S
        try:
            said = await peers.peer(owner).post(
                peer_messages.LEASE, replace(wish, first=place == 0).message(), within_s
            )
            granted = peer_messages.granted_in(said, asked)
            held = peer_messages.held_in(said, "held", keys)
            found = peer_messages.found_in(said, keys)
        except (OriginError, FormatError):
            continue
        leases.held |= held
        leases.found |= found
        # What an owner says nothing about is nobody's.
        leases.granted |= granted | (set(asked) - set(held) - set(found))
        return
    leases.granted.update(asked)


async def _confirm(peers: Peers, leases: Leases) -> dict[bytes, Found]:
    """Have holders confirm what was found; returns what they do not."""
    looking = _Looking(peers)
    with trio.move_on_after(_CONFIRM_S):
        async with trio.open_nursery() as nursery:
            for sha256, blob in leases.found.items():
                nursery.start_soon(looking.confirm, sha256, blob, _CONFIRM_S)
    lost = {sha256: blob for sha256, blob in leases.found.items() if sha256 not in looking.confirmed}
    leases.found = looking.confirmed
    return lost


async def _without_gone(peers: Peers, listed: Sequence[HostPort], wish: Wish, lost: dict[bytes, Found]) -> Leases:
    """The same wishes where nobody who was said to have a blob answers."""
    sizes = dict(wish.want)
    wanted = tuple((sha256, sizes[sha256]) for sha256 in lost if sha256 in sizes)
    gone = tuple((sha256, at) for sha256, blob in lost.items() for at in blob.holders)
    leases = Leases()
    async with trio.open_nursery() as nursery:
        for part in _wishes(listed, Wish(wish.id, wish.port, want=wanted, gone=gone)):
            nursery.start_soon(_ask_owners, peers, listed, part, leases)
    leases.granted.update(sha256 for sha256 in leases.found if sha256 in sizes)
    leases.granted &= set(sizes)
    return leases


def _wishes(listed: Sequence[HostPort], wish: Wish) -> list[Wish]:
    """The same wishes by the owners of what they are about."""
    groups: dict[tuple[HostPort, ...], _Entries] = defaultdict(_Entries)

    def of(sha256: bytes) -> _Entries:
        return groups[tuple(owners(sha256, listed, OWNERS))]

    for wanted in wish.want:
        of(wanted[0]).want.append(wanted)
    for held in wish.hold:
        of(held[0]).hold.append(held)
    for sha256 in wish.release:
        of(sha256).release.append(sha256)
    for gone in wish.gone:
        of(gone[0]).gone.append(gone)
    return [part for entries in groups.values() for part in entries.wishes(wish)]


@dataclass(slots=True)
class _Entries:
    """Wishes that have their owners in common."""

    want: list[tuple[bytes, int]] = field(default_factory=list)
    hold: list[tuple[bytes, int]] = field(default_factory=list)
    release: list[bytes] = field(default_factory=list)
    gone: list[tuple[bytes, str]] = field(default_factory=list)

    def wishes(self, wish: Wish) -> Iterator[Wish]:
        """In messages that are not too long."""
        longest = max(len(self.want), len(self.hold), len(self.release), len(self.gone))
        for at in range(0, longest, _BATCH):
            part = slice(at, at + _BATCH)
            yield Wish(
                wish.id,
                wish.port,
                want=tuple(self.want[part]),
                hold=tuple(self.hold[part]),
                release=tuple(self.release[part]),
                gone=tuple(self.gone[part]),
            )


async def announce(peers: Peers, blobs: Sequence[Announced]) -> None:
    """Tell the owners of blobs that this machine has them. Raises OriginError where a blob has no owner that was
    told."""
    listed = await peers.listed()
    told: set[bytes] = set()
    failures: list[OriginError] = []

    async def tell(owner: Peer, part: Sequence[Announced]) -> None:
        announcement = Announcement(peers.settings.id, peers.settings.port, tuple(part))
        try:
            await owner.post(peer_messages.ANNOUNCE, announcement.message(), _ANNOUNCE_S)
        except OriginError as error:
            failures.append(error)
        else:
            told.update(blob.sha256 for blob in part)

    by_sha256 = {blob.sha256: blob for blob in blobs}
    async with trio.open_nursery() as nursery:
        for owner, sha256s in _by_owner(listed, list(by_sha256), OWNERS).items():
            for part in _parts(sha256s):
                nursery.start_soon(tell, peers.peer(owner), [by_sha256[sha256] for sha256 in part])
    untold = by_sha256.keys() - told
    if untold:
        why = "; ".join(dict.fromkeys(map(str, failures))) or peers.trouble or "there is no peer"
        raise OriginError(f"{counted(len(untold), 'blob')} could not be announced: {why}")


async def site(peers: Peers) -> list[PeerState]:
    """How all machines fare that are listed, or were asked."""
    listed = await peers.listed()
    own = await peers.digest()
    known = dict.fromkeys([*map(peers.peer, listed), *peers.known])
    states: dict[Peer, PeerState] = {}
    width = trio.CapacityLimiter(_WIDTH)

    async def ask(peer: Peer) -> None:
        async with width:
            states[peer] = await _state(peers, peer, own, is_listed=peer.at in listed)

    async with trio.open_nursery() as nursery:
        for peer in known:
            nursery.start_soon(ask, peer)
    return [states[peer] for peer in known]


async def _state(peers: Peers, peer: Peer, own: str, *, is_listed: bool) -> PeerState:
    why, about = "", None
    try:
        about = await peer.about(_ABOUT_S)
    except OriginError as error:
        why = str(error)
    standing = peer.standing
    said = about or About("", "", "", 0, 0, 0, 0, 0)
    return PeerState(
        address=str(peer.at),
        is_listed=is_listed,
        is_self=bool(peer.id) and peer.id == peers.settings.id,
        answers=about is not None,
        why=why,
        version=said.version,
        share=said.share,
        blobs=said.blobs,
        bytes=said.bytes,
        announced=said.announced,
        leases=said.leases,
        has_given=said.gave,
        round_trip_s=standing.round_trip_s,
        gave_bytes=standing.gave,
        gave_leaves=standing.leaves,
        paused_s=standing.paused_s(trio.current_time()),
        same_list=said.listed == own if said.listed else None,
    )


async def public(hub: HubFiles | None, files: Sequence[HubFile], sha256: bytes) -> bool:
    """Whether a Hub gives a content to anyone as one of these files. Raises OriginError where that cannot be known."""
    if hub is None:
        raise NoOrigin("no Hub is to be asked (mount --hub)")
    failures: list[OriginError] = []
    for file in files:
        try:
            said = await hub.said(replace(file, with_token=False))
        except NotHeld:
            continue
        except OriginError as error:
            failures.append(error)
            continue
        if said.etag == sha256.hex():
            return True
    if failures:
        raise failures[0]
    return False


def _by_owner(listed: Sequence[HostPort], sha256s: Iterable[bytes], count: int) -> dict[HostPort, list[bytes]]:
    groups: dict[HostPort, list[bytes]] = defaultdict(list)
    for sha256 in dict.fromkeys(sha256s):
        for owner in owners(sha256, listed, count):
            groups[owner].append(sha256)
    return groups


def _parts(sha256s: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for at in range(0, len(sha256s), _BATCH):
        yield sha256s[at : at + _BATCH]


@dataclass(slots=True)
class SiteJob:
    """One of the questions above, as a job of the process."""

    peers: Peers | None
    hub: HubFiles | None
    what: str
    header: Header
    blob: bytes

    async def __call__(self, send_part: SendPart, /) -> Answer:
        header = self.header
        if self.what == "public":
            sha256 = bytes.fromhex(header["sha256"])
            return Answer({"public": await public(self.hub, hub_files(header), sha256)})
        if self.peers is None:
            raise NoOrigin("no peers are named (mount --peers)")
        match self.what:
            case "find":
                found = await find(self.peers, _digests(self.blob), header["within_s"])
                return Answer({}, json.dumps(site_messages.pack_found(found)).encode())
            case "lease":
                return Answer({}, site_messages.pack_leases(await lease(self.peers, self._wish(json.loads(self.blob)))))
            case "announce":
                await announce(self.peers, site_messages.unpack_announced(self.blob))
                return Answer()
            case "site":
                states = await site(self.peers)
                return Answer({}, json.dumps([asdict(state) for state in states]).encode())
        raise FormatError(f"no such job: {self.what}")

    def _wish(self, told: dict[str, Any]) -> Wish:
        assert self.peers is not None
        return Wish(
            self.peers.settings.id,
            self.peers.settings.port,
            want=tuple((bytes.fromhex(text), size) for text, size in told["want"]),
            hold=tuple((bytes.fromhex(text), done) for text, done in told["hold"]),
            release=tuple(bytes.fromhex(text) for text in told["release"]),
        )


def _digests(blob: bytes) -> list[bytes]:
    return [blob[at : at + 32] for at in range(0, len(blob), 32)]
