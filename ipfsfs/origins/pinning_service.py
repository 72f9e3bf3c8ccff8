"""Services that speak the Pinning Service API (https://ipfs.github.io/pinning-services-api-spec/)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, get_args
from urllib.parse import quote, urlencode

from ipfsfs.errors import FormatError, OriginError
from ipfsfs.origins.api import Api
from ipfsfs.origins.http import Client
from ipfsfs.origins.remote_pins import RemotePin, RemoteState
from ipfsfs.unixfs import cid as cids

_STATES: Final = ",".join(get_args(RemoteState))
_PAGE: Final = 1000
_PAGES_MAX: Final = 100
_DELEGATES_MAX: Final = 20
_KIND: Final = "a pinning service"


@dataclass(slots=True, eq=False)
class PinningService:
    """A service. Fills `PinKeeper`."""

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
        there = await self.look(cid)
        if there is not None and there.state != "failed":
            return there
        said = {"cid": cids.to_text(cid), "name": name}
        target = "/pins" if there is None else f"/pins/{quote(there.handle, safe='')}"
        return self._pin(self._api.one(await self._api.ask("POST", target, said)), cid)

    async def look(self, cid: bytes) -> RemotePin | None:
        """As `PinKeeper`: of several pins, the one that is nearest to being held."""
        found = await self._of(cid)
        order: tuple[str, ...] = ("pinned", "pinning", "queued", "failed")
        return min(found, key=lambda one: order.index(one.state), default=None)

    async def all(self) -> list[RemotePin]:
        """As `PinKeeper`. Raises OriginError where the service has more than 100,000, or does not get on."""
        found: dict[str, RemotePin] = {}
        before = ""
        for _ in range(_PAGES_MAX):
            query = {"limit": str(_PAGE), "status": _STATES} | ({"before": before} if before else {})
            page = await self._page(query)
            new = [one for one in page if self._text(one, "requestid") not in found]
            found |= {pin.handle: pin for pin in map(self._pin, page)}
            if not new:
                return list(found.values())
            before = min(self._text(one, "created") for one in page)
        raise OriginError(f"{self.name} lists more than {_PAGE * _PAGES_MAX:,} pins")

    async def remove(self, cid: bytes) -> bool:
        """As `PinKeeper`."""
        found = await self._of(cid)
        for pin in found:
            answer = await self._api.ask("DELETE", f"/pins/{quote(pin.handle, safe='')}")
            if not 200 <= answer.status < 300 and answer.status != 404:
                raise self._api.failure(answer)
        return bool(found)

    async def aclose(self) -> None:
        """As `PinKeeper`."""
        await self.client.aclose()

    async def _of(self, cid: bytes) -> list[RemotePin]:
        query = {"cid": cids.to_text(cid), "status": _STATES, "limit": str(_PAGE)}
        return [self._pin(one, cid) for one in await self._page(query)]

    async def _page(self, query: dict[str, str]) -> list[dict[str, Any]]:
        answer = self._api.one(await self._api.ask("GET", f"/pins?{urlencode(query)}"))
        results = answer.get("results")
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise self._api.nonsense("no list of results")
        return results

    def _pin(self, said: dict[str, Any], wanted: bytes | None = None) -> RemotePin:
        pin, state, info = said.get("pin"), said.get("status"), said.get("info")
        if not isinstance(pin, dict):
            raise self._api.nonsense("a status without a pin")
        known: RemoteState | None = next((one for one in get_args(RemoteState) if one == state), None)
        if known is None:
            raise self._api.nonsense(f"the status {state!r}")
        try:
            cid = cids.from_text(self._text(pin, "cid"))
        except FormatError:
            if wanted is not None:
                raise self._api.nonsense("a pin of something else") from None
            cid = b""
        if wanted is not None and cids.digest(cid) != cids.digest(wanted):
            raise self._api.nonsense(f"a pin of {cids.to_text(cid)}, which was not asked for")
        why = info.get("status_details") if isinstance(info, dict) else None
        delegates = said.get("delegates")
        return RemotePin(
            cid=cid,
            name=self._api.shown(str(pin.get("name") or "")),
            state=known,
            handle=self._text(said, "requestid"),
            why=self._api.shown(why) if isinstance(why, str) else "",
            delegates=tuple(one for one in delegates if isinstance(one, str))[:_DELEGATES_MAX]
            if isinstance(delegates, list)
            else (),
        )

    def _text(self, said: dict[str, Any], key: str) -> str:
        found = said.get(key)
        if not isinstance(found, str) or not found:
            raise self._api.nonsense(f"no {key}")
        return found
