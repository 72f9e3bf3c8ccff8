"""IPFS Cluster, by its REST API: several nodes that hold the same pins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from ipfsfs.errors import FormatError
from ipfsfs.origins.api import Api
from ipfsfs.origins.http import Client
from ipfsfs.origins.remote_pins import RemotePin, RemoteState
from ipfsfs.unixfs import cid as cids

_KIND: Final = "IPFS Cluster"
_PENDING: Final[dict[str, RemoteState]] = {"pinning": "pinning", "pin_queued": "queued"}
_ABSENT: Final = ("unpinned", "unpinning", "unpin_queued")
_PEERS_SHOWN: Final = 3


@dataclass(slots=True, eq=False)
class Cluster:
    """A peer of a cluster, which speaks for all. Fills `PinKeeper`."""

    client: Client
    _api: Api = field(init=False)

    def __post_init__(self) -> None:
        self._api = Api(self.client, _KIND)

    @property
    def name(self) -> str:
        """As `PinKeeper`."""
        return self.client.name

    async def add(self, cid: bytes, name: str) -> RemotePin:
        """As `PinKeeper`."""
        text = cids.to_text(cid)
        pin = self._api.one(await self._api.ask("POST", f"/pins/{text}?{urlencode({'name': name})}"))
        self._check(pin, cid)
        return await self.look(cid) or RemotePin(cid, name, "queued", text)

    async def look(self, cid: bytes) -> RemotePin | None:
        """As `PinKeeper`. Failed where no peer holds it or still tries, and one has given up."""
        answer = await self._api.ask("GET", f"/pins/{cids.to_text(cid)}")
        if answer.status == 404:
            return None
        found = self._api.one(answer)
        self._check(found, cid)
        return self._pin(found)

    async def all(self) -> list[RemotePin]:
        """As `PinKeeper`."""
        answer = await self._api.ask("GET", "/pins")
        listed = self._api.each(answer) if answer.body.strip() else []
        if not all(isinstance(one, dict) for one in listed):
            raise self._api.nonsense("a list of something else than pins")
        return [pin for one in listed if (pin := self._pin(one)) is not None]

    async def remove(self, cid: bytes) -> bool:
        """As `PinKeeper`."""
        answer = await self._api.ask("DELETE", f"/pins/{cids.to_text(cid)}")
        if answer.status == 404:
            return False
        self._check(self._api.one(answer), cid)
        return True

    async def aclose(self) -> None:
        """As `PinKeeper`."""
        await self.client.aclose()

    def _check(self, said: dict[str, Any], wanted: bytes) -> None:
        try:
            cid = cids.from_text(self._text(said))
        except FormatError:
            raise self._api.nonsense("a pin without a CID") from None
        if cids.digest(cid) != cids.digest(wanted):
            raise self._api.nonsense(f"a pin of {cids.to_text(cid)}, which was not asked for")

    def _text(self, said: dict[str, Any]) -> str:
        text = said.get("cid")
        if not isinstance(text, str):
            raise self._api.nonsense("a pin without a CID")
        return text

    def _pin(self, said: dict[str, Any]) -> RemotePin | None:
        peers = said.get("peer_map")
        if not isinstance(peers, dict) or not all(isinstance(one, dict) for one in peers.values()):
            raise self._api.nonsense("a pin without its peers")
        states = {str(peer): str(one.get("status")) for peer, one in peers.items()}
        if all(state in _ABSENT for state in states.values()):
            return None
        text = self._text(said)
        try:
            cid = cids.from_text(text)
        except FormatError:
            cid = b""  # others pin other things than files
        errors = [self._api.shown(str(one.get("error"))) for one in peers.values() if one.get("error")]
        state = _together(set(states.values()))
        return RemotePin(
            cid=cid,
            name=self._api.shown(str(said.get("name") or "")),
            state=state,
            handle=text,
            why="; ".join(errors[:_PEERS_SHOWN]),
        )


def _together(states: set[str]) -> RemoteState:
    """One state for what all peers say."""
    for pending, state in _PENDING.items():
        if pending in states:
            return state
    return "pinned" if "pinned" in states else "failed"
