"""Holders found by a router: `GET /routing/v1/providers/{cid}` (https://specs.ipfs.tech/routing/http-routing-v1/).

A router, such as the gateway port of a Kubo, says who has a CID and serves it by HTTP; blocks come from those holders
directly, by the trustless gateway protocol. So no node's repository fills up on the way. Publishers announce roots and
seldom leaves: a holder that gave a block is asked for the next ones before the router is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins import holders
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.gateway import Gateway
from ipfsfs.origins.holders import Gate, Reach
from ipfsfs.origins.http import Client
from ipfsfs.origins.message import Answer, Limits, Request
from ipfsfs.origins.paused import Paused
from ipfsfs.origins.refusal import refusal
from ipfsfs.origins.settings import HINTS_MAX
from ipfsfs.unixfs import cid as cids

_ACCEPT: Final = ("Accept", "application/x-ndjson, application/json;q=0.5")
_ANSWER_MAX: Final = 1 << 20
_ENOUGH: Final = 3
"""Gateways after which a router is listened to no longer."""
_NEW_MAX: Final = 8
"""Gateways of one answer that are tried."""
_KNOWN_MAX: Final = 16
_MISSES_MAX: Final = 64
"""Blocks in a row that a holder may lack before it is forgotten."""
_LOOKUP_S: Final = 5.0
_MORE_S: Final = 0.5
"""How long other holders may take to be named once one is."""
_RESOLVED_S: Final = 3.0
_BLOCK_S: Final = 15.0
"""For one block, all holders and the router together: less than the time of an origin (`paused.ANSWER_S`)."""
_HOLDER_S: Final = 6.0
_PAUSE_S: Final = 10.0
"""For so long after a search in vain none is made: leaves come by thousands, and another origin waits for its turn."""
_AGAIN_S: Final = 60.0
"""The same CID is not looked for again within this."""
_IN_VAIN_MAX: Final = 4_096
_Value = TypeVar("_Value")
_HOLDER_LIMITS: Final = Limits(connect_s=3.0, silence_s=5.0)


@dataclass(slots=True, eq=False)
class _Holder:
    """A gateway that a router named. `misses`: blocks in a row that it did not give. `asking`: questions under way."""

    origin: Paused
    misses: int = 0
    asking: int = 0
    is_forgotten: bool = False

    async def block(self, cid: bytes) -> bytes | None:
        """The block, if it gives it."""
        self.asking += 1
        try:
            block = await self.origin.block(cid)
        except Unreachable:
            return None
        except OriginError:
            self.misses += 1
            return None
        else:
            self.misses = 0
            return block
        finally:
            self.asking -= 1
            if self.is_forgotten:
                await self.forget()

    async def forget(self) -> None:
        """Close its connections, once no question is on its way."""
        self.is_forgotten = True
        if not self.asking:
            with trio.CancelScope(shield=True):
                await self.origin.aclose()


@dataclass(slots=True, eq=False)
class Routing:
    """An origin: the holders that one router names. Their blocks are checked here, each holder by itself."""

    client: Client
    _reach: Reach = field(init=False)
    _holders: dict[Gate, _Holder] = field(default_factory=dict)
    """The last one to give a block, or to be named, comes last."""
    _hints: dict[bytes, None] = field(default_factory=dict)
    _in_vain: dict[bytes, float] = field(default_factory=dict)
    """By CID, until when it is not looked for again."""
    _not_before: float = -math.inf
    _looking: trio.Lock = field(default_factory=trio.Lock, repr=False)

    def __post_init__(self) -> None:
        self._reach = Reach.of(self.client.address)

    @property
    def name(self) -> str:
        """As `Origin`."""
        return self.client.name

    async def block(self, cid: bytes) -> bytes:
        """The block, from a holder. Raises NotHeld where none is found that gives it, Unreachable where the router
        cannot be asked."""
        with trio.move_on_after(_BLOCK_S):
            asked: set[Gate] = set()
            found = await self._from(cid, reversed(self._holders), asked)
            if found is None:
                found = await self._from(cid, await self._look(cid, asked), asked)
            if found is not None:
                self._not_before = -math.inf
                return found
            self._not_before = max(self._not_before, trio.current_time() + _PAUSE_S)
        raise NotHeld(f"{self.name} names no holder that gives {cids.to_text(cid)} by HTTP")

    async def has(self, cid: bytes) -> bool:
        """Never: that a stranger has it now is no reason to let it go here."""
        del cid
        return False

    def hint(self, root: bytes) -> None:
        """Content below this root is going to be wanted: who has it is asked where nobody is known to have a block."""
        self._hints.pop(root, None)
        self._hints[root] = None
        _shorten(self._hints, HINTS_MAX)

    async def aclose(self) -> None:
        """As `Origin`."""
        for holder in self._holders.values():
            await holder.origin.aclose()
        await self.client.aclose()

    async def _from(self, cid: bytes, gates: Iterable[Gate], asked: set[Gate]) -> bytes | None:
        """The block, from the first of these that gives it; those in a pause are not asked."""
        for gate in list(gates):
            holder = self._holders.get(gate)
            if holder is None or gate in asked:
                continue
            asked.add(gate)
            block = await holder.block(cid)
            if block is not None:
                if self._holders.pop(gate, None) is not None:
                    self._holders[gate] = holder
                return block
            if holder.misses > _MISSES_MAX and self._holders.pop(gate, None) is not None:
                await holder.forget()
        return None

    async def _look(self, cid: bytes, asked: set[Gate]) -> list[Gate]:
        """Holders that were not asked yet. One search at a time: what it finds serves the others that wait."""
        async with self._looking:
            if new := [gate for gate in self._holders if gate not in asked]:
                return new
            now = trio.current_time()
            if now < self._not_before:
                return []
            for wanted in (cid, *reversed(self._hints)):
                if now < self._in_vain.get(wanted, -math.inf):
                    continue
                self._in_vain[wanted] = now + _AGAIN_S
                _shorten(self._in_vain, _IN_VAIN_MAX)
                if new := [gate for gate in await self._named(wanted) if gate not in asked]:
                    return new
            return []

    async def _named(self, cid: bytes) -> list[Gate]:
        """The gateways of holders that the router names, which are known from now on. Raises OriginError."""
        found: dict[Gate, None] = {}
        request = Request("GET", f"/routing/v1/providers/{cids.to_text(cid)}", (_ACCEPT,))
        with trio.move_on_after(_LOOKUP_S) as whole:
            async with self.client.open(request) as response:
                if response.head.status == 404:
                    await response.beginning(_ANSWER_MAX)
                    return []
                if response.head.status != 200:
                    answer = Answer(response.head, await response.beginning(_ANSWER_MAX), ())
                    raise refusal(self.name, answer, self.client.authorization)
                rest, size = b"", 0
                while (piece := await response.piece()) and size < _ANSWER_MAX:
                    size += len(piece)
                    lines, newline, rest = (rest + piece).rpartition(b"\n")
                    if newline:
                        found.update(dict.fromkeys(self._gates(lines)))
                    if found:
                        whole.deadline = min(whole.deadline, trio.current_time() + _MORE_S)
                    if len(found) >= _ENOUGH:
                        break
                found.update(dict.fromkeys(self._gates(rest)))
        return [gate for gate in list(found)[:_NEW_MAX] if await self._is_known(gate)]

    def _gates(self, body: bytes) -> list[Gate]:
        """Those that may be connected to, as far as that is seen without DNS."""
        named = (gate for record in holders.records(body) for gate in holders.gates(record))
        return [gate for gate in named if not gate.ip or self._reach.admits(gate.ip)]

    async def _is_known(self, gate: Gate) -> bool:
        """Know a gateway; returns whether it may be connected to. A name stands for the address that it has now."""
        if gate in self._holders:
            return True
        ip = gate.ip or await self._resolved(gate)
        if not ip:
            return False
        client = Client(f"holder {gate.shown}", gate.address(ip), "", _HOLDER_LIMITS)
        self._holders[gate] = _Holder(Paused(Checked(Gateway(client)), _HOLDER_S))
        while len(self._holders) > _KNOWN_MAX:
            await self._holders.pop(next(iter(self._holders))).forget()
        return True

    async def _resolved(self, gate: Gate) -> str:
        """An admitted address of a name; empty where it has none, or one of them is not admitted."""
        with trio.move_on_after(_RESOLVED_S), suppress(OSError, UnicodeError):
            listed = await trio.socket.getaddrinfo(gate.host, gate.port, type=trio.socket.SOCK_STREAM)
            ips = [str(at[0]) for *_, at in listed]
            if ips and all(map(self._reach.admits, ips)):
                return ips[0]
        return ""


def _shorten(known: dict[bytes, _Value], most: int) -> None:
    """Forget the oldest of too many."""
    while len(known) > most:
        del known[next(iter(known))]
