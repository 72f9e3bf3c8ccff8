"""A trustless gateway: blocks by `GET /ipfs/{cid}?format=raw` (https://specs.ipfs.tech/http-gateways/trustless-gateway/).

A gateway of subdomains redirects `/ipfs/{cid}` to `{cid}.ipfs.` in front of its own host. That is followed, over the
address that was given: no other server is asked, and no credentials are sent to the new name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import NotHeld
from ipfsfs.origins.http import Client
from ipfsfs.origins.message import Answer, Pairs, Request
from ipfsfs.origins.refusal import refusal
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX

_ACCEPT: Final = ("Accept", "application/vnd.ipld.raw")
_ONLY_HERE: Final = ("Cache-Control", "only-if-cached")
_REDIRECTS: Final = 2
_ABSENT: Final = (404, 410)
_NOT_CACHED: Final = 412
_NO_HEAD: Final = (405, 501)


@dataclass(slots=True, eq=False)
class Gateway:
    """An origin that speaks the trustless gateway protocol."""

    client: Client

    @property
    def name(self) -> str:
        return self.client.name

    async def block(self, cid: bytes) -> bytes:
        """The block, wherever the gateway has it from. Raises NotHeld, Unreachable (Busy), OriginError."""
        answer = await self._ask("GET", cid, (_ACCEPT,))
        if answer.status == 200:
            return answer.body
        raise self._refusal(cid, answer)

    async def has(self, cid: bytes) -> bool:
        """Whether the gateway has the block itself. One that knows no HEAD is asked for the block."""
        answer = await self._ask("HEAD", cid, (_ACCEPT, _ONLY_HERE))
        if answer.status in _NO_HEAD:
            answer = await self._ask("GET", cid, (_ACCEPT, _ONLY_HERE))
        if answer.status == 200:
            return True
        if answer.status == _NOT_CACHED or answer.status in _ABSENT:
            return False
        raise self._refusal(cid, answer)

    async def aclose(self) -> None:
        await self.client.aclose()

    async def _ask(self, method: str, cid: bytes, headers: Pairs) -> Answer:
        target = f"/ipfs/{cids.to_text(cid)}?format=raw"
        return await self.client.ask(Request(method, target, headers, redirects=_REDIRECTS), BLOCK_MAX)

    async def block_at_hand(self, cid: bytes) -> bytes:
        """The block, if the gateway has it itself. Raises as `block` does."""
        answer = await self._ask("GET", cid, (_ACCEPT, _ONLY_HERE))
        if answer.status == 200:
            return answer.body
        raise self._refusal(cid, answer)

    def _refusal(self, cid: bytes, answer: Answer) -> Exception:
        if answer.status in _ABSENT or answer.status == _NOT_CACHED:
            return NotHeld(f"{self.name} does not have {cids.to_text(cid)}")
        return refusal(self.name, answer, self.client.authorization)


@dataclass(slots=True, eq=False)
class AtHand:
    """A gateway as an origin of what it has itself: it is asked to search for nothing."""

    gateway: Gateway

    @property
    def name(self) -> str:
        """As `Origin`."""
        return self.gateway.name

    async def block(self, cid: bytes) -> bytes:
        """As `Origin`."""
        return await self.gateway.block_at_hand(cid)

    async def has(self, cid: bytes) -> bool:
        """As `Origin`."""
        return await self.gateway.has(cid)

    async def aclose(self) -> None:
        """As `Origin`."""
        await self.gateway.aclose()
