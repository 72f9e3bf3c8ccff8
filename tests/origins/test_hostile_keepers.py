"""Pinning services and clusters that lie, fail or send elsewhere: a clear error, and the token goes nowhere."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from ipfsfs.errors import IpfsfsError, OriginError
from ipfsfs.origins.message import Limits
from ipfsfs.origins.registry import open_pin_keeper
from ipfsfs.origins.remote_pins import PinKeeper
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid as cids
from tests.support.cars import raw
from tests.support.hostile_server import Behaviour, HostileServer, answering, hostile_server, saying

CID = raw(b"wanted")
OTHER = raw(b"other")
CANARY = "canary-of-a-service"
Check = Callable[[PinKeeper, HostileServer], Awaitable[None]]


def _ask(kind: str, behaviour: Behaviour, check: Check) -> None:
    async def main() -> None:
        async with hostile_server(behaviour) as server:
            settings = OriginSettings(kind, server.url, f"Bearer {CANARY}")
            keeper = open_pin_keeper(settings, Limits(connect_s=2, silence_s=2, grace_s=2))
            with trio.fail_after(10):
                try:
                    await check(keeper, server)
                finally:
                    await keeper.aclose()

    trio.run(main)


async def _every_call_fails(keeper: PinKeeper, server: HostileServer) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: keeper.add(CID, "name"),
        lambda: keeper.look(CID),
        keeper.all,
        lambda: keeper.remove(CID),
    ]
    for call in calls:
        with pytest.raises(OriginError) as caught:
            await call()
        assert CANARY not in f"{caught.value} {caught.value.hint}"
        assert len(str(caught.value)) < 500


def _said(value: Any) -> Behaviour:
    return answering(saying(json.dumps(value).encode()))


def _pin(cid: bytes, **changed: Any) -> dict[str, Any]:
    pin = {"cid": cids.to_text(cid), "name": "n"}
    return {"requestid": "1", "status": "pinned", "created": "2026-01-01T00:00:00Z", "pin": pin, **changed}


@pytest.mark.parametrize("kind", ["cluster", "service"])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>hello</html>",
        b"[" * 100_000,
        b"17",
        b"[]",
        b"{}",
        b'{"results": 7}',
        b'{"results": [7]}',
        json.dumps({"results": [_pin(CID, pin=None)]}).encode(),
        json.dumps({"results": [_pin(CID, status="eaten")]}).encode(),
        json.dumps({"results": [_pin(CID, status=["pinned"])]}).encode(),
        json.dumps({"results": [_pin(CID, requestid=3)]}).encode(),
        json.dumps({"cid": 7, "peer_map": {"a": {"status": "pinned"}}}).encode(),
        b"[1, 2]",
        b"\xff\xfe",
    ],
    ids=range(14),
)
def test_what_makes_no_sense_is_an_error(kind: str, body: bytes) -> None:
    _ask(kind, answering(saying(body)), _every_call_fails)


def test_a_pin_of_something_else_is_not_taken_for_ours() -> None:
    async def check(keeper: PinKeeper, server: HostileServer) -> None:
        for call in (keeper.add(CID, "name"), keeper.look(CID), keeper.remove(CID)):
            with pytest.raises(OriginError, match="which was not asked for"):
                await call

    _ask("service", _said({"count": 1, "results": [_pin(OTHER)]}), check)
    _ask("cluster", _said({"cid": cids.to_text(OTHER), "peer_map": {"p": {"status": "pinned"}}}), check)


@pytest.mark.parametrize("kind", ["cluster", "service"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(kind: str, status: int) -> None:
    async def main() -> None:
        async with hostile_server(answering(saying(b"{}"))) as other:
            behaviour = answering(saying(b"", f"{status} Elsewhere", f"Location: {other.url}/pins"))
            async with hostile_server(behaviour) as server:
                keeper = open_pin_keeper(OriginSettings(kind, server.url, f"Bearer {CANARY}"))
                with pytest.raises(OriginError, match="redirects"):
                    await keeper.add(CID, "name")
                await keeper.aclose()
            assert CANARY in "".join(server.requests)
            assert not other.requests

    trio.run(main)


@pytest.mark.parametrize("kind", ["cluster", "service"])
@pytest.mark.parametrize("status", ["400 Bad", "401 No", "409 Conflict", "500 Broken", "503 Busy"])
def test_a_server_that_repeats_the_token_does_not_have_it_shown(kind: str, status: str) -> None:
    said = {"error": {"reason": f"Bearer {CANARY}", "details": CANARY}, "message": f"no {CANARY}"}
    _ask(kind, answering(saying(json.dumps(said).encode(), status)), _every_call_fails)


def test_a_list_without_an_end_is_given_up() -> None:
    pages = 0

    async def behaviour(stream: Any, number: int) -> None:
        nonlocal pages
        pages += 1
        one = _pin(CID, requestid=str(number), created=f"{3000 - number:04}-01-01T00:00:00Z")
        await stream.send_all(saying(json.dumps({"count": 10**9, "results": [one]}).encode()))

    async def check(keeper: PinKeeper, server: HostileServer) -> None:
        with pytest.raises(IpfsfsError, match="more than 100,000 pins"):
            await keeper.all()

    _ask("service", behaviour, check)
    assert pages == 100
