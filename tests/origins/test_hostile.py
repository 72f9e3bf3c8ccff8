"""Servers that lie, stall, never end or send elsewhere: a clear error, in bounded time and memory."""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from ipfsfs.errors import IpfsfsError, OriginError, Unreachable
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.message import Limits
from ipfsfs.origins.origin import Busy, Origin
from ipfsfs.origins.registry import open_origin
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid as cids
from tests.support.cars import endless, raw
from tests.support.hostile_server import (
    Behaviour,
    HostileServer,
    Stream,
    answering,
    hostile_server,
    repeat,
    saying,
)

_BLOCK = b"the right bytes"
_CID = raw(_BLOCK)
_CANARY = "Bearer canary-of-hostile"
_PATIENT = Limits(connect_s=4, silence_s=4, grace_s=4)
_NO_SILENCE = Limits(connect_s=4, silence_s=0.3, grace_s=4)
_NO_SLOWNESS = Limits(connect_s=4, silence_s=4, grace_s=0.5)
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_MIB = 1 << 20
_MEMORY_MAX = 12 * _MIB
"""A block of 2 MiB is held twice while it is put together, by the client and by this test's server."""
_TIME_MAX_S = 3.5
"""Less than a patient client waits for anything: what is no matter of time is noticed at once."""


@dataclass(slots=True)
class Ask:
    """How a test asks the server: as an origin of this kind."""

    kind: str
    limits: Limits = _PATIENT

    def origin(self, server: HostileServer) -> Origin:
        return open_origin(OriginSettings(self.kind, server.url, _CANARY), self.limits)

    def run(self, behaviour: Behaviour, check: Callable[[Origin, HostileServer], Awaitable[None]]) -> None:
        """Run `check`, within the time and memory that any test of this file has."""

        async def main() -> None:
            async with hostile_server(behaviour) as server, opened(self.origin(server)) as origin:
                with trio.fail_after(_TIME_MAX_S):
                    await check(origin, server)

        tracemalloc.start()
        try:
            trio.run(main)
            assert tracemalloc.get_traced_memory()[1] < _MEMORY_MAX
        finally:
            tracemalloc.stop()

    def refused(self, behaviour: Behaviour, said: str, kind: type[IpfsfsError] = OriginError) -> None:
        """A block asked for ends in this error, which names the server, and shows no credentials."""

        async def check(origin: Origin, server: HostileServer) -> None:
            with pytest.raises(kind, match=said) as caught:
                await origin.block(_CID)
            assert type(caught.value) is kind or kind is not OriginError
            assert server.url in str(caught.value)
            assert "canary" not in f"{caught.value} {caught.value.hint} {origin!r}"

        self.run(behaviour, check)


@asynccontextmanager
async def opened(origin: Origin) -> AsyncIterator[Origin]:
    try:
        yield origin
    finally:
        await origin.aclose()


@pytest.fixture(params=["gateway", "kubo"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return Ask(request.param)


def then_repeating(begin: bytes, piece: bytes, pause_s: float = 0.0) -> Behaviour:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(begin)
        await repeat(stream, piece, pause_s)

    return behave


def then_silent(begin: bytes) -> Behaviour:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(begin)
        await trio.sleep_forever()

    return behave


def then_closing(begin: bytes) -> Behaviour:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(begin)
        await stream.aclose()

    return behave


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


# What is too much.


@pytest.mark.parametrize(
    "begin_and_piece",
    [(_CHUNKED, chunk(b"x" * 60_000)), (_OK + b"Connection: close\r\n\r\n", b"x" * 60_000)],
    ids=["chunked", "until the connection ends"],
)
def test_an_endless_body(ask: Ask, begin_and_piece: tuple[bytes, bytes]) -> None:
    ask.refused(then_repeating(*begin_and_piece), "sends more than the 2097152 bytes")


def test_a_body_that_says_it_is_too_long_is_not_read(ask: Ask) -> None:
    ask.refused(then_silent(_OK + b"Content-Length: 99999999999\r\n\r\n"), "sends more than the 2097152 bytes")


def test_endless_headers(ask: Ask) -> None:
    ask.refused(then_repeating(_OK, b"X-More: and more\r\n"), "sends headers longer than 16 KiB")


def test_an_endless_header(ask: Ask) -> None:
    ask.refused(then_repeating(_OK + b"X-Long: ", b"y" * 1000), "sends headers longer than 16 KiB")


def test_endless_trailers(ask: Ask) -> None:
    ask.refused(then_repeating(_CHUNKED + b"0\r\n", b"X-More: and more\r\n"), "sends headers longer than 16 KiB")


def test_endless_interim_answers(ask: Ask) -> None:
    ask.refused(then_repeating(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), "no answer that makes sense")


def test_framing_without_content(ask: Ask) -> None:
    """A chunk for each byte costs a thousand times the work that its bytes are worth."""
    ask.refused(then_repeating(_CHUNKED, chunk(b"x") * 1000), "sends more framing than content")


def test_an_endless_refusal_is_cut_and_its_status_said(ask: Ask) -> None:
    refusal = _CHUNKED.replace(b"200 OK", b"500 Internal Server Error")
    ask.refused(then_repeating(refusal, chunk(b"sorry " * 1000)), "500: sorry sorry")


# What is too slow.


def test_a_byte_now_and_then(ask: Ask) -> None:
    Ask(ask.kind, _NO_SLOWNESS).refused(
        then_repeating(_OK + b"Content-Length: 15\r\n\r\n", b"x", 0.05), "sends too slowly", Unreachable
    )


def test_headers_a_byte_now_and_then(ask: Ask) -> None:
    Ask(ask.kind, _NO_SLOWNESS).refused(then_repeating(_OK, b"X", 0.05), "sends too slowly", Unreachable)


def test_silence_after_the_headers(ask: Ask) -> None:
    Ask(ask.kind, _NO_SILENCE).refused(
        then_silent(_OK + b"Content-Length: 15\r\n\r\nthe"), r"sent nothing more for 0\.3 s", Unreachable
    )


def test_silence_from_the_start() -> None:
    Ask("gateway", _NO_SILENCE).refused(then_silent(b""), r"does not answer for 0\.3 s", Unreachable)


def test_a_server_that_takes_nothing_of_what_it_is_sent() -> None:
    async def check(origin: Origin, server: HostileServer) -> None:
        assert isinstance(origin, Kubo)
        with pytest.raises(Unreachable, match=r"takes nothing more for 0\.3 s"):
            await origin.put(endless([]))

    Ask("kubo", _NO_SILENCE).run(then_silent(b""), check)


# What breaks.


def test_a_connection_closed_in_the_body(ask: Ask) -> None:
    begin = _OK + b"Content-Length: 15\r\n\r\nthe"
    ask.refused(then_closing(begin), "closed the connection in the middle of the body", Unreachable)


def test_a_connection_closed_in_a_chunk(ask: Ask) -> None:
    begin = _CHUNKED + b"f\r\nthe"
    ask.refused(then_closing(begin), "closed the connection in the middle of the body", Unreachable)


def test_a_connection_closed_in_the_headers(ask: Ask) -> None:
    ask.refused(then_closing(_OK), "closed the connection in the middle of its headers", Unreachable)


def test_a_connection_closed_without_an_answer(ask: Ask) -> None:
    ask.refused(then_closing(b""), "closed the connection without an answer", Unreachable)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        _CHUNKED + b"zz\r\nthe right bytes\r\n0\r\n\r\n",
        _CHUNKED + b"-5\r\nthe right bytes\r\n0\r\n\r\n",
        _CHUNKED + b"f\r\nthe right bytes that go on\r\n0\r\n\r\n",
        _OK + b"Content-Length: -1\r\n\r\nx",
        _OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["another protocol", "no number", "less than none", "more than it says", "negative", "two lengths", "switch"],
)
def test_what_is_no_http(ask: Ask, answer: bytes) -> None:
    ask.refused(answering(answer), "does not speak HTTP/1.1")


def test_control_characters_of_a_server_reach_no_terminal(ask: Ask) -> None:
    behaviour = answering(saying(b"\x1b[2Jgone\x07", "418 Teapot"))
    ask.refused(behaviour, r"418: \\x1b\[2Jgone\\x07")


# What is other than was asked.


def test_other_bytes_are_noticed_and_the_liar_is_left_alone(ask: Ask) -> None:
    async def check(origin: Origin, server: HostileServer) -> None:
        checked = Checked(origin)
        for _ in range(3):
            with pytest.raises(OriginError) as caught:
                await checked.block(_CID)
            assert f"{server.url} gave 15 bytes that are not {cids.to_text(_CID)}" in str(caught.value)
        with pytest.raises(OriginError, match="not asked for another 60 s"):
            await checked.has(_CID)
        assert len(server.requests) == 1

    ask.run(answering(saying(b"the wrong bytes")), check)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_to_another_server_is_not_followed(status: str) -> None:
    async def check(origin: Origin, server: HostileServer) -> None:
        async with hostile_server(answering(saying(_BLOCK))) as elsewhere:
            here, there = server.port, elsewhere.port
            for where in (
                f"http://127.0.0.1:{there}",
                f"http://sub.127.0.0.1:{there}",
                f"https://127.0.0.1:{here}",
                f"http://127.0.0.2:{here}",
                f"http://x127.0.0.1:{here}",
            ):
                places[:] = [where]
                with pytest.raises(OriginError, match="which is another server: not followed"):
                    await origin.block(_CID)
            assert elsewhere.connections == 0

    places: list[str] = []

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b"", status, f"Location: {places[0]}/ipfs/x"))

    Ask("gateway").run(behave, check)


@pytest.mark.parametrize(
    "location",
    ["http://[::1", "http://127.0.0.1:99999999/", "//", "http://user@127.0.0.1/", "", "javascript:alert(1)", "/a b"],
)
def test_a_redirect_to_what_makes_no_sense(location: str) -> None:
    Ask("gateway").refused(answering(saying(b"", "301 Moved", f"Location: {location}")), "redirects")


def test_a_redirect_in_a_circle() -> None:
    Ask("gateway").refused(answering(saying(b"", "301 Moved", "Location: /ipfs/x")), "redirects more than 2 times")


def test_a_redirect_on_the_same_server_is_followed_and_credentials_stay_with_the_host() -> None:
    async def behave(stream: Stream, number: int) -> None:
        answers = [
            saying(b"", "301 Moved", "Location: /other"),
            saying(b"", "301 Moved", f"Location: http://x.ipfs.127.0.0.1:{ports[0]}/third?q=1"),
            saying(_BLOCK),
        ]
        await stream.send_all(answers[number])

    async def check(origin: Origin, server: HostileServer) -> None:
        ports.append(server.port)
        assert await origin.block(_CID) == _BLOCK
        first, second, third = server.requests
        assert first.startswith(f"GET /ipfs/{cids.to_text(_CID)}?format=raw HTTP/1.1\r\n")
        assert second.startswith("GET /other HTTP/1.1\r\n")
        assert third.startswith("GET /third?q=1 HTTP/1.1\r\n")
        assert [_CANARY in request for request in (first, second, third)] == [True, True, False]
        assert server.connections == 1
        assert f"host: x.ipfs.127.0.0.1:{server.port}\r\n" in third.lower()

    ports: list[int] = []
    Ask("gateway").run(behave, check)


@pytest.mark.parametrize(("status", "held"), [("200 OK", True), ("412 Not cached", False), ("404 Absent", False)])
def test_a_gateway_that_knows_no_head_is_asked_for_the_block(status: str, held: bool) -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(_BLOCK, status) if number else b"HTTP/1.1 405 No\r\nContent-Length: 9\r\n\r\n")

    async def check(origin: Origin, server: HostileServer) -> None:
        assert await origin.has(_CID) is held
        assert [request.split()[0] for request in server.requests] == ["HEAD", "GET"]
        assert all("cache-control: only-if-cached\r\n" in request.lower() for request in server.requests)

    Ask("gateway").run(behave, check)


def test_kubo_is_never_redirected() -> None:
    Ask("kubo").refused(answering(saying(b"", "301 Moved", "Location: /other")), "redirects to another place .301.")


# Busy servers.


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "504 Gateway Timeout"])
@pytest.mark.parametrize(("said", "after_s"), [("7", 7), ("99999999999", 300), ("soon", 0), ("-1", 0)])
def test_a_busy_server_says_when_to_come_again(ask: Ask, status: str, said: str, after_s: float) -> None:
    async def check(origin: Origin, server: HostileServer) -> None:
        with pytest.raises(Busy, match=f"is busy .{status[:3]}: try later") as caught:
            await origin.block(_CID)
        assert caught.value.after_s == after_s

    ask.run(answering(saying(b"try later\nmore", status, f"Retry-After: {said}")), check)


@pytest.mark.parametrize(
    "answer",
    [
        saying(b"SECRET is wrong", "401 U"),
        saying(b"x" * 180 + b" SECRET", "500 Broken"),
        saying(b"no", "302 Found", "Location: http://SECRET/x"),
        saying(b'{"Message": "no SECRET", "Code": 0, "Type": "error"}\n', "500 Broken"),
        saying(b'{"Message": "SECRET", "Type": "error"}', "503 Busy"),
        b"HTTP/1.1 200 OK\r\nno header: SECRET \x00\r\n\r\n",
        b"HTTP/1.1 SECRET\r\n\r\n",
        b"SECRET\r\n\r\n",
    ],
)
@pytest.mark.parametrize("authorization", [_CANARY, "Basic " + base64.b64encode(b"user:canary-of-hostile").decode()])
def test_a_server_that_repeats_what_it_was_asked_with_does_not_have_it_shown(
    ask: Ask, answer: bytes, authorization: str
) -> None:
    said = [authorization, authorization.split()[1], "user:canary-of-hostile", "canary-of-hostile"]

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(answer.replace(b"SECRET", said[number % len(said)].encode()))
        await stream.aclose()

    async def main() -> None:
        async with hostile_server(behave) as server:
            settings = OriginSettings(ask.kind, server.url, authorization)
            async with opened(open_origin(settings, _PATIENT)) as origin:
                for secret in said:
                    with pytest.raises(OriginError) as caught:
                        await origin.block(_CID)
                    assert secret not in f"{caught.value} {caught.value.hint}"
                    assert authorization.split()[1][:8] not in str(caught.value), "nor the beginning of it"

    trio.run(main)
