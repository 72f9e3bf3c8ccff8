"""Holders that a router names: found, asked directly, and believed in nothing. Routers and holders that are hostile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins import holders
from ipfsfs.origins.address import parse
from ipfsfs.origins.holders import Gate, Reach
from ipfsfs.origins.http import Client
from ipfsfs.origins.ordered import Ordered
from ipfsfs.origins.registry import hint, open_ordered
from ipfsfs.origins.routing import Routing
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid
from tests.support.block_server import BlockServer, block_server
from tests.support.cars import raw
from tests.support.hostile_server import Behaviour, HostileServer, Stream, answering, hostile_server, repeat, saying

_BLOCK, _OTHER = b"a block", b"another block"
_CID, _OTHER_CID = raw(_BLOCK), raw(_OTHER)


def _multiaddr(url: str) -> str:
    host, _, port = url.removeprefix("http://").partition(":")
    return f"/ip4/{host}/tcp/{port}/http"


def _naming(*addresses: str) -> bytes:
    lines = [{"Schema": "peer", "ID": "12D3Koo", "Addrs": [address]} for address in addresses]
    return saying(
        b"".join(json.dumps(line).encode() + b"\n" for line in lines), "200 OK", "Content-Type: application/x-ndjson"
    )


@asynccontextmanager
async def _router(behaviour: Behaviour) -> AsyncIterator[tuple[Ordered, HostileServer]]:
    async with hostile_server(behaviour) as router:
        origins = open_ordered([OriginSettings("routing", router.url)])
        try:
            with trio.fail_after(40):
                yield origins, router
        finally:
            await origins.aclose()


@pytest.fixture
def holder() -> Iterator[BlockServer]:
    with block_server() as found:
        found.blocks = {_text(_CID): _BLOCK, _text(_OTHER_CID): _OTHER}
        yield found


def _text(block_cid: bytes) -> str:
    return cid.to_text(block_cid)


def test_blocks_come_from_a_holder_and_the_router_is_asked_once(holder: BlockServer) -> None:
    async def main() -> None:
        async with _router(answering(_naming("/ip4/127.0.0.1/udp/4001/quic-v1", _multiaddr(holder.url)))) as (
            origins, router,
        ):  # fmt: skip
            assert await origins.block(_CID) == _BLOCK
            assert await origins.block(_OTHER_CID) == _OTHER
            assert len(router.requests) == 1
            assert f"/routing/v1/providers/{_text(_CID)} " in router.requests[0]
            assert not await origins.has(_CID), "nothing is let go because a stranger has it"

    trio.run(main)


def test_one_object_that_lists_them_is_an_answer_too(holder: BlockServer) -> None:
    body = json.dumps({"Providers": [{"Schema": "peer", "Addrs": [_multiaddr(holder.url)]}]}).encode()

    async def main() -> None:
        async with _router(answering(saying(body))) as (origins, _):
            assert await origins.block(_CID) == _BLOCK

    trio.run(main)


def test_a_search_in_vain_is_not_made_again_at_once() -> None:
    async def main() -> None:
        async with _router(answering(saying(b"", "404 Not Found"))) as (origins, router):
            for number in range(20):
                with pytest.raises(NotHeld):
                    await origins.block(raw(bytes([number])))
            assert len(router.requests) == 1

    trio.run(main)


def test_who_has_a_tree_is_asked_for_what_is_in_it(holder: BlockServer) -> None:
    root = raw(b"the root of the tree")

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(_naming(_multiaddr(holder.url)) if number else saying(b"", "404 Not Found"))

    async def main() -> None:
        async with _router(behave) as (origins, router):
            hint(origins, root)
            assert await origins.block(_CID) == _BLOCK
            assert [_text(one) in asked for one, asked in zip((_CID, root), router.requests, strict=True)] == [True] * 2

    trio.run(main)


def _endless(piece: bytes, head: bytes = b"") -> Behaviour:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + head)
        await repeat(stream, b"%x\r\n%s\r\n" % (len(piece), piece), 0.001)

    return behave


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(saying(b"no json\n\xff\n[]\n{}\n1\n")),
        answering(saying(b"[" * 100_000)),
        answering(saying(json.dumps({"Addrs": ["/ip4/1.2.3.4/tcp/99999/http", 5, None, "/" * 300]}).encode())),
        answering(saying(json.dumps({"Providers": [{"Addrs": {}}, 7]}).encode())),
        _endless(b"no end of it"),
        _endless(b'{"Addrs": []}\n'),
    ],
    ids=["no records", "nested", "odd addresses", "odd lists", "no line ends", "no end of lines"],
)
def test_a_router_that_makes_no_sense_costs_a_moment(behaviour: Behaviour) -> None:
    async def main() -> None:
        async with _router(behaviour) as (origins, _):
            with trio.fail_after(12), pytest.raises(OriginError):
                await origins.block(_CID)

    trio.run(main)


def test_a_router_that_is_silent_or_gone_is_left_alone() -> None:
    async def silent(stream: Stream, number: int) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with _router(silent) as (origins, router):
            with trio.fail_after(12), pytest.raises(OriginError):
                await origins.block(_CID)
            assert len(router.requests) == 1
        gone = open_ordered([OriginSettings("routing", "http://127.0.0.1:1")])
        with pytest.raises(Unreachable):
            await gone.block(_CID)
        await gone.aclose()

    trio.run(main)


def test_a_holder_that_lies_is_passed_by(holder: BlockServer) -> None:
    async def main() -> None:
        async with (
            hostile_server(answering(saying(b"something else"))) as liar,
            _router(answering(_naming(_multiaddr(liar.url), _multiaddr(holder.url)))) as (origins, _),
        ):
            assert await origins.block(_CID) == _BLOCK
            assert await origins.block(_OTHER_CID) == _OTHER
            assert len(liar.requests) == 1

    trio.run(main)


def test_of_a_thousand_holders_few_are_asked(holder: BlockServer) -> None:
    async def main() -> None:
        async with hostile_server(answering(saying(b"", "404 Not Found"))) as empty:
            names = [f"/ip4/127.0.0.{number}/tcp/{empty.port}/http" for number in range(1, 255)]
            async with _router(answering(_naming(*names))) as (origins, _):
                with pytest.raises(NotHeld):
                    await origins.block(_CID)
                assert empty.connections <= 8

    trio.run(main)


@pytest.mark.parametrize(
    ("router", "ip", "is_admitted"),
    [
        ("https://router.example", "93.184.216.34", True),
        ("https://router.example", "2606:2800:220:1::1", True),
        ("https://router.example", "127.0.0.1", False),
        ("https://router.example", "10.1.2.3", False),
        ("https://router.example", "100.64.0.1", False),
        ("https://router.example", "169.254.169.254", False),
        ("https://router.example", "::1", False),
        ("https://router.example", "::ffff:127.0.0.1", False),
        ("https://router.example", "64:ff9b::7f00:1", False),
        ("https://router.example", "2002:7f00:1::", False),
        ("https://router.example", "fe80::1%eth0", False),
        ("https://router.example", "fd00::1", False),
        ("https://router.example", "0.0.0.1", False),
        ("https://8.8.8.8", "192.168.1.1", False),
        ("http://127.0.0.1:8080", "127.0.0.1", True),
        ("http://127.0.0.1:8080", "192.168.1.1", True),
        ("http://10.0.0.1:8080", "10.0.0.2", True),
        ("http://127.0.0.1:8080", "169.254.169.254", False),
        ("http://127.0.0.1:8080", "224.0.0.1", False),
        ("http://127.0.0.1:8080", "::", False),
    ],
)
def test_a_router_elsewhere_names_nothing_of_this_network(router: str, ip: str, is_admitted: bool) -> None:
    assert Reach.of(parse(router)).admits(ip) is is_admitted


@pytest.mark.parametrize(
    ("multiaddr", "found"),
    [
        ("/ip4/1.2.3.4/tcp/80/http", Gate("http", "1.2.3.4", 80, "1.2.3.4")),
        ("/ip4/1.2.3.4/tcp/80/http/p2p/12D3Koo", Gate("http", "1.2.3.4", 80, "1.2.3.4")),
        ("/ip6/2001:db8::1/tcp/443/https", Gate("https", "2001:db8::1", 443, "2001:db8::1")),
        ("/dns4/gateway.example/tcp/443/tls/http", Gate("https", "gateway.example", 443, "")),
        ("/dns/gateway.example/tcp/443/tls/sni/gateway.example/http", Gate("https", "gateway.example", 443, "")),
        ("/dns/gateway.example/tcp/443/tls/sni/other.example/http", None),
        ("/dns/127.0.0.1/tcp/80/http", None),
        ("/ip4/1.2.3.4/tcp/4001", None),
        ("/ip4/1.2.3.4/udp/4001/quic-v1/http", None),
        ("/ip4/1.2.3.4/tcp/80/http/http-path/x", None),
        ("/ip4/1.2.3.4/tcp/0/http", None),
        ("/ip4/1.2.3/tcp/80/http", None),
        ("/ip4/host@name/tcp/80/http", None),
        ("/ip6/1.2.3.4/tcp/80/http", None),
        ("/ip6/fe80::1%25eth0/tcp/80/http", None),
        ("", None),
    ],
)
def test_only_gateways_by_http_are_taken_from_addresses(multiaddr: str, found: Gate | None) -> None:
    assert holders.gate(multiaddr) == found


@given(st.text() | st.from_regex(r"/(ip4|ip6|dns)/[0-9a-f:.]+/tcp/[0-9]+/(http|https|tls/http)"))
def test_no_address_is_an_error(text: str) -> None:
    found = holders.gate(text)
    assert found is None or 0 < found.port < 65536


def test_a_router_is_of_this_machine_by_its_address_alone() -> None:
    assert Reach.of(parse("http://router.example")) is Reach.PUBLIC
    assert Reach.of(parse("http://localhost:8080")) is Reach.ANYWHERE


def test_a_name_that_leads_into_this_machine_is_no_holder_of_a_router_elsewhere(holder: BlockServer) -> None:
    """The router itself is of this machine here, and is made one of elsewhere: by its reach alone."""
    port = holder.url.rpartition(":")[2]

    async def main() -> None:
        async with hostile_server(answering(_naming(f"/dns4/localhost/tcp/{port}/http"))) as router:
            origin = Routing(Client("routing", parse(router.url)))
            assert await origin.block(_CID) == _BLOCK
            await origin.aclose()
            origin = Routing(Client("routing", parse(router.url)))
            origin._reach = Reach.PUBLIC
            with pytest.raises(NotHeld):
                await origin.block(_CID)
            await origin.aclose()

    trio.run(main)
