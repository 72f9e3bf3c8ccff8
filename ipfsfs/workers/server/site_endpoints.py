"""What this machine answers to others of its site: who has a blob, who downloads it, and how this machine fares.

Whatever is asked was decoded strictly before it counts. Who is not known to be of the site changes nothing here, and
hears of public content alone.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from ipfsfs import __version__
from ipfsfs.errors import FormatError, OriginError
from ipfsfs.origins import peer_messages
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.origins.peer_messages import About, Announcement, Found, Held, Message, Question, Wish
from ipfsfs.origins.peers import Peers
from ipfsfs.origins.rendezvous import owners
from ipfsfs.workers.server.caller import Caller
from ipfsfs.workers.server.directory import Directory
from ipfsfs.workers.server.endpoints import Call, Reply
from ipfsfs.workers.server.leases import LeaseBook, Says
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.server.totals import Totals
from ipfsfs.workers.wire import Header

_FIRST_S: Final = 0.3
"""How long the first owner of a blob may take, before the second grants a lease on it."""
_TOLD_MOST: Final = 2_000
"""Blobs of which is told in one answer."""
_OWNERS: Final = 2


@dataclass(slots=True, eq=False)
class SiteEndpoints:
    """The `Endpoints` of a machine that shares."""

    settings: ServerSettings
    totals: Totals
    peers: Peers
    directory: Directory = field(default_factory=Directory)
    leases: LeaseBook = field(default_factory=LeaseBook)

    async def answer(self, call: Call) -> Reply:
        """As `Endpoints`."""
        known = {"announce": self._announce, "ask": self._ask, "lease": self._lease}
        if call.name == "peer":
            return await self._answer(call, "GET", self._peer)
        if call.name in known:
            return await self._answer(call, "POST", known[call.name])
        return _refusal(404, "no such endpoint")

    def told(self, header: Header, blob: bytes) -> None:
        """As `Endpoints`: the daemon says nothing of this."""
        raise LookupError(f"nothing is known of {header}")

    async def run(self) -> None:
        """As `Endpoints`."""
        await self.peers.run()

    async def _answer(self, call: Call, method: str, answer: Callable[[Call], Awaitable[Message]]) -> Reply:
        if call.method != method:
            return _refusal(405, f"ask by {method}")
        if not self._is_of_site(call.caller) and call.name != "ask":
            return _refusal(401, "only machines of the site may ask this")
        try:
            return Reply(200, peer_messages.encode(await answer(call)))
        except FormatError as error:
            return _refusal(400, str(error))

    def _is_of_site(self, caller: Caller) -> bool:
        """Whether a caller signs, or, where there is no token, is at the address of a machine of the list."""
        if caller.is_signed:
            return True
        return caller.is_of_site and self.peers.addresses.has(_address(caller.host))

    async def _peer(self, call: Call) -> Message:
        totals = self.totals
        about = About(
            self.settings.id,
            __version__,
            self.settings.share,
            totals.blobs,
            totals.blob_bytes,
            len(self.directory),
            self.leases.count(trio.current_time()),
            totals.gave_bytes,
            await self.peers.digest() if self.settings.peers else "",
        )
        return about.message()

    async def _announce(self, call: Call) -> Message:
        said = Announcement.of(peer_messages.decode(call.body))
        taken = 0
        at = _holder(call.caller, said.port)
        if said.port and (call.caller.is_signed or self.peers.addresses.has(_address(call.caller.host), said.port)):
            taken = self.directory.announce(said.id, at, said.blobs, trio.current_time())
            for blob in said.blobs:
                self.leases.announced(blob.sha256, said.id)
        return {"id": self.settings.id, "taken": taken}

    async def _ask(self, call: Call) -> Message:
        said = Question.of(peer_messages.decode(call.body))
        found = self._found(said.blobs, said.id, call.caller)
        answer: Message = {"id": self.settings.id, "found": peer_messages.found_message(found)}
        if self._is_of_site(call.caller):
            now = trio.current_time()
            leases = {sha256: self.leases.held(sha256, said.id, now) for sha256 in said.blobs[:_TOLD_MOST]}
            held = {sha256: lease for sha256, lease in leases.items() if lease is not None}
            answer["leases"] = peer_messages.held_message(held)
        return answer

    async def _lease(self, call: Call) -> Message:
        wish = Wish.of(peer_messages.decode(call.body))
        at = wish.on_behalf or (_holder(call.caller, wish.port) if wish.port else "")
        if not wish.on_behalf:  # else it would count as one more host's word
            for sha256, holder in wish.gone:
                self.directory.gone(sha256, holder, _address(call.caller.host))
        if not wish.first:
            gone = wish.gone if at else ()  # without that this machine would say so itself
            passed_on = await self._ask_first(replace(wish, first=True, on_behalf=at, gone=gone))
            if passed_on is not None:
                return passed_on
        return self._decide(wish, at, call.caller)

    async def _ask_first(self, wish: Wish) -> Message | None:
        """What the first owner of some blobs says, which all have it in common; None where it does not answer, or is
        this machine."""
        keys = [*(entry[0] for entry in (*wish.want, *wish.hold)), *wish.release]
        listed = await self.peers.listed()
        firsts = {tuple(owners(key, listed, 1)) for key in keys}
        if len(firsts) != 1 or not (first := firsts.pop()):
            return None  # the asker has another list: this machine decides
        peer = self.peers.peer(first[0])
        if peer.id == self.settings.id:
            return None
        try:
            said = await peer.post(peer_messages.LEASE, wish.message(), _FIRST_S)
            asked = [sha256 for sha256, _ in wish.want]
            granted = peer_messages.granted_in(said, asked)
            held = peer_messages.held_in(said, "held", keys)
            found = peer_messages.found_in(said, keys)
        except (OriginError, FormatError):
            return None
        return self._leases(granted, held, found)

    def _decide(self, wish: Wish, at: str, caller: Caller) -> Message:
        """What becomes of wishes by what is known here. A machine that serves nobody is granted what nobody has, and
        has no lease: nobody is to wait for it."""
        now = trio.current_time()
        found = self._found([sha256 for sha256, _ in wish.want], wish.id, caller, wish.gone)
        by = _address(caller.host)
        granted: set[bytes] = set()
        held: dict[bytes, Held] = {}
        for sha256 in wish.release:
            self.leases.say(sha256, Says.RELEASE, wish.id, at, now, by=by)
        for sha256, done in wish.hold:
            if at and (others := self.leases.say(sha256, Says.HOLD, wish.id, at, now, done, by=by)) is not None:
                held[sha256] = others
        for sha256, _ in wish.want:
            if sha256 in found:
                continue
            if at:
                others = self.leases.say(sha256, Says.WANT, wish.id, at, now, by=by)
            else:
                others = self.leases.held(sha256, wish.id, now)
            if others is None:
                granted.add(sha256)
            elif len(held) < _TOLD_MOST:
                held[sha256] = others
        return self._leases(granted, held, found)

    def _leases(self, granted: set[bytes], held: dict[bytes, Held], found: dict[bytes, Found]) -> Message:
        return {
            "id": self.settings.id,
            "granted": [sha256.hex() for sha256 in granted],
            "held": peer_messages.held_message(held),
            "found": peer_messages.found_message(found),
        }

    def _found(
        self, sha256s: Sequence[bytes], machine: str, caller: Caller, gone: Sequence[tuple[bytes, str]] = ()
    ) -> dict[bytes, Found]:
        now, host = trio.current_time(), _address(caller.host)
        loopback = _is_loopback(caller.host)
        without: dict[bytes, set[str]] = {}
        for sha256, holder in gone:
            without.setdefault(sha256, set()).add(holder)
        found: dict[bytes, Found] = {}
        for sha256 in sha256s[:_TOLD_MOST]:
            blob = self.directory.find(
                sha256,
                machine,
                now,
                only_public=not caller.is_signed,
                loopback=loopback,
                host=host,
                without=without.get(sha256, ()),
            )
            if blob is not None:
                found[sha256] = blob
        return found


def _holder(caller: Caller, port: int) -> str:
    """A machine as others reach it."""
    return str(HostPort(_address(caller.host), port))


def _address(host: str) -> str:
    """An address without what a socket for both families puts before one of IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return host if mapped is None else str(mapped)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(_address(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refusal(status: int, why: str) -> Reply:
    return Reply(status, json.dumps({"error": why}).encode())
