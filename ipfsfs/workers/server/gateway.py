"""The trustless gateway (https://specs.ipfs.tech/http-gateways/trustless-gateway/): blocks and CARs by their CID.

What may not be given to the caller is answered as what is not here. `Cache-Control: only-if-cached` asks for what is
here alone, and is answered 412 where it is not; any other question of a machine of the site may be passed on (`Relay`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins.peer_messages import FOR_ANOTHER, OTHERS, RUN_HEADER
from ipfsfs.unixfs import cid as cids
from ipfsfs.workers.server import answer, car_walk
from ipfsfs.workers.server.answer import Answer, Headers
from ipfsfs.workers.server.asked import CAR_TYPE, RAW_TYPE, AskedFor, asked_for
from ipfsfs.workers.server.askers import Askers
from ipfsfs.workers.server.blocks import Block, HereBlocks
from ipfsfs.workers.server.caller import Caller
from ipfsfs.workers.server.capacity import BLOCKS, CARS, Capacity, TooBusy
from ipfsfs.workers.server.relay import Relay
from ipfsfs.workers.server.request import Request
from ipfsfs.workers.server.totals import Totals

_FOR_ANYONE: Final = "public, max-age=29030400, immutable"
_FOR_THE_SITE: Final = "private, no-store"
"""What only machines with the token may have is in no cache that answers others; nor is what was signed for one."""


@dataclass(slots=True)
class Gateway:
    """Answers questions for content."""

    here: HereBlocks
    relay: Relay
    totals: Totals
    _askers: Askers = field(default_factory=Askers)
    _blocks: Capacity = field(default_factory=lambda: Capacity(BLOCKS))
    _cars: Capacity = field(default_factory=lambda: Capacity(CARS))

    async def answer(self, request: Request, caller: Caller, held: AsyncExitStack) -> Answer:
        """Answer a request. What the answer holds in memory is counted until `held` is closed."""
        if request.method not in ("GET", "HEAD"):
            return answer.plain(405, "content can be read only", ("Allow", "GET, HEAD"))
        try:
            asked = asked_for(request)
            inlined = _inlined(asked.cid)
        except UsageError as error:
            return answer.plain(400, str(error))
        place = self._cars if asked.form == "car" else self._blocks
        try:
            await held.enter_async_context(place.place(_who(caller)))
            block = Block(inlined, True) if inlined is not None else await self._wanted(asked, request, caller)
            if block is None and asked.sought is not None and _may_be_had(request, asked, caller):
                await held.aclose()  # others are served while this is waited for
                data = await self.relay.get(asked.sought)
                block = None if data is None else Block(data, public=False)
                await held.enter_async_context(place.place(_who(caller)))
        except (TooBusy, trio.TooSlowError, trio.WouldBlock):
            self.totals.busy += 1
            return answer.busy()
        if block is None:
            self.totals.missed += 1
            return answer.plain(412 if request.is_have else 404, "not here")
        headers = _headers(asked, for_anyone=block.public and not caller.is_signed)
        if request.is_have and caller.is_of_site:
            headers.append((OTHERS, str(self._others(request, caller))))
        if _is_known(request.header("if-none-match"), asked.etag):
            return Answer(304, headers)
        if asked.form == "car":
            return Answer(200, headers, pieces=self._car(asked, block, caller), proves_itself=True)
        if request.method == "GET":
            self.totals.gave(caller.host, len(block.data), block.leaves)
        if block.leaves > 1:
            headers.append((RUN_HEADER, str(block.leaves)))
        return Answer(200, headers, block.data, proves_itself=True)

    def _others(self, request: Request, caller: Caller) -> int:
        """How many machines ask for blocks beside the caller."""
        now = trio.current_time()
        if FOR_ANOTHER not in request.query():
            self._askers.note(caller.host, now)
        return self._askers.others(caller.host, now)

    async def _wanted(self, asked: AskedFor, request: Request, caller: Caller) -> Block | None:
        """What is asked for, as far as it is here: for a machine of the site a run of leaves."""
        run = asked.run
        if (
            run is not None
            and asked.form == "raw"
            and caller.is_of_site
            and request.is_have
            and request.method == "GET"
        ):
            found = await self.here.run(asked.cid, run, only_public=not caller.is_signed)
            if found is not None:
                return found
        return await self._here(asked.cid, caller)

    async def _here(self, cid: bytes, caller: Caller) -> Block | None:
        """A block that is here, and that the caller may have."""
        return await self.here.get(cid, only_public=not caller.is_signed)

    async def _car(self, asked: AskedFor, root: Block, caller: Caller) -> AsyncIterator[tuple[bytes, bytes]]:
        async def get(cid: bytes) -> bytes | None:
            block = await self._here(cid, caller)
            return None if block is None else block.data

        async for before, block in car_walk.pieces(asked.wanted, root.data, get):
            if block:
                self.totals.gave(caller.host, len(block))
            yield before, block


def _who(caller: Caller) -> str:
    """For whom a place is counted. Strangers are one: however many addresses they have, machines of the site find
    places beside them."""
    return caller.host if caller.is_signed or caller.is_of_site else ""


def _may_be_had(request: Request, asked: AskedFor, caller: Caller) -> bool:
    """Whether a block that is not here may be had from elsewhere for the caller."""
    return caller.is_of_site and asked.form == "raw" and request.method == "GET" and not request.is_have


def _inlined(cid: bytes) -> bytes | None:
    """The block that an identity CID holds, such as that of the probe `bafkqaaa`; None for all others. Raises
    UsageError for one that is too long."""
    try:
        return cids.inlined(cid)
    except FormatError:
        pass
    if len(cid) > cids.IDENTITY_MAX:
        raise UsageError("a CID that is too long")
    return None  # of another hash: nothing that is here


def _headers(asked: AskedFor, *, for_anyone: bool) -> Headers:
    is_car = asked.form == "car"
    kind = f"{CAR_TYPE}; version=1; order=dfs; dups={'y' if asked.wanted.duplicates else 'n'}" if is_car else RAW_TYPE
    return [
        ("Content-Type", kind),
        ("Content-Disposition", f'attachment; filename="{asked.text}.{"car" if is_car else "bin"}"'),
        ("ETag", asked.etag),
        ("Cache-Control", _FOR_ANYONE if for_anyone else _FOR_THE_SITE),
        ("Vary", "Accept, Ipfsfs-Auth"),
        ("X-Content-Type-Options", "nosniff"),
    ]


def _is_known(header: str, etag: str) -> bool:
    """Whether an `If-None-Match` names what would be sent."""
    known = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return any(tag in ("*", etag.removeprefix("W/")) for tag in known)
