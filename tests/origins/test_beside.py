"""A gateway on the machine of a node gives what it has; the node searches for all else, and then the gateway."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio

from ipfsfs.errors import NotHeld
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.registry import open_ordered
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.workers.fetcher import served
from tests.support.cars import raw
from tests.support.hostile_server import Behaviour, HostileServer, Stream, answering, hostile_server, saying

_BLOCK = b"a block"
_CID = raw(_BLOCK)
_NOT_CACHED = saying(b"", "412 Precondition Failed")
_ABSENT = saying(json.dumps({"Message": "ipld: could not find x", "Code": 0, "Type": "error"}).encode(), "500 Error")


def _run(
    gateway: Behaviour, node: Behaviour, check: Callable[[Ordered, HostileServer, HostileServer], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with hostile_server(gateway) as beside, hostile_server(node) as kubo:
            # One machine by two addresses.
            url = beside.url.replace("127.0.0.1", "localhost")
            origins = open_ordered([OriginSettings("kubo", kubo.url), OriginSettings("gateway", url)])
            try:
                with trio.fail_after(10):
                    await check(origins, beside, kubo)
            finally:
                await origins.aclose()

    trio.run(main)


def _searching(found: bytes) -> Behaviour:
    """A gateway that has nothing itself, and finds a block elsewhere."""

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(found if number else _NOT_CACHED)

    return behave


def test_what_it_has_is_asked_of_nobody_else() -> None:
    async def check(origins: Ordered, beside: HostileServer, kubo: HostileServer) -> None:
        given = await origins.given(_CID)
        assert (given.block, given.refused) == (_BLOCK, ())
        assert given.by == f"gateway {beside.url.replace('127.0.0.1', 'localhost')}"
        assert "cache-control: only-if-cached\r\n" in beside.requests[0].lower()
        assert not kubo.requests
        (_, gateway) = served.told(origins)
        assert gateway == (given.by, 1, 1, 0, ""), "it is listed once, and counted as the others"

    _run(answering(saying(_BLOCK)), answering(_ABSENT), check)


def test_what_it_does_not_have_the_node_searches_for() -> None:
    async def check(origins: Ordered, beside: HostileServer, kubo: HostileServer) -> None:
        assert (await origins.given(_CID)).by == f"kubo {kubo.url}"
        assert len(beside.requests) == 1

    _run(answering(_NOT_CACHED), answering(saying(_BLOCK)), check)


def test_what_the_node_does_not_find_the_gateway_searches_for() -> None:
    async def check(origins: Ordered, beside: HostileServer, kubo: HostileServer) -> None:
        given = await origins.given(_CID)
        assert given.by.startswith("gateway")
        assert [said.origin for said in given.refused] == [f"kubo {kubo.url}"]
        assert "only-if-cached" not in beside.requests[1].lower()

    _run(_searching(saying(_BLOCK)), answering(_ABSENT), check)


def test_a_lie_of_the_gateway_costs_nothing_but_time() -> None:
    async def check(origins: Ordered, beside: HostileServer, kubo: HostileServer) -> None:
        for _ in range(3):
            assert (await origins.given(_CID)).by == f"kubo {kubo.url}"
        assert len(beside.requests) == 1, "it is left alone"

    _run(answering(saying(b"another")), answering(saying(_BLOCK)), check)


def test_where_none_has_it_each_is_named_once() -> None:
    async def check(origins: Ordered, beside: HostileServer, kubo: HostileServer) -> None:
        with pytest.raises(NotHeld) as caught:
            await origins.given(_CID)
        assert [said.origin.split()[0] for said in caught.value.said] == ["kubo", "gateway"]

    _run(_searching(saying(b"", "404 Not Found")), answering(_ABSENT), check)
