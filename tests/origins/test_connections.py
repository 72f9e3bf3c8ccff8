"""Connections that are kept: how many, when one is used again, and what happens when the server has closed it."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins.address import parse
from ipfsfs.origins.http import CONNECTIONS_MAX, Client
from ipfsfs.origins.message import Answer, Limits, Request
from tests.support.hostile_server import Behaviour, HostileServer, Stream, answering, hostile_server, saying

_GET = Request("GET", "/x")
_POST = Request("POST", "/x", repeatable=False)
_MOST = 1 << 20


def _serve(
    behaviour: Behaviour,
    check: Callable[[Client, HostileServer], Awaitable[None]],
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> None:
    async def main() -> None:
        async with hostile_server(behaviour, tls[0] if tls else None) as server:
            client = Client("origin", parse(server.url), "Bearer canary", Limits(5, 5, 5), tls[1] if tls else None)
            try:
                with trio.fail_after(10):
                    await check(client, server)
            finally:
                await client.aclose()

    trio.run(main)


async def _bodies(client: Client, count: int) -> list[bytes]:
    return [(await client.ask(_GET, _MOST)).body for _ in range(count)]


def test_one_connection_serves_one_request_after_the_other() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        assert await _bodies(client, 5) == [b"x"] * 5
        assert server.connections == 1

    _serve(answering(saying(b"x")), check)


def test_no_more_connections_than_there_may_be() -> None:
    busy = most = 0

    async def behave(stream: Stream, number: int) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await trio.sleep(0.01)
        busy -= 1
        await stream.send_all(saying(b"x"))

    async def check(client: Client, server: HostileServer) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(client.ask, _GET, _MOST)
        assert server.connections == most == CONNECTIONS_MAX

    _serve(behave, check)


def test_a_connection_closed_while_it_is_idle_costs_nothing() -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b"x"))
        if number % 2 == 0:
            await stream.aclose()

    async def check(client: Client, server: HostileServer) -> None:
        for count in range(4):
            assert (await client.ask(_POST if count % 2 else _GET, _MOST)).body == b"x"
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(server.requests) == 4

    _serve(behave, check)


def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next_request() -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(str(number).encode()))
        await stream.send_all(saying(b"planted"))

    async def check(client: Client, server: HostileServer) -> None:
        for number in range(3):
            assert (await client.ask(_GET, _MOST)).body == str(number).encode()
            await trio.testing.wait_all_tasks_blocked(0.01)

    _serve(behave, check)


def _closing_on(numbers: set[int], first: bytes = b"") -> Behaviour:
    async def behave(stream: Stream, number: int) -> None:
        if number in numbers:
            await stream.send_all(first)
            await stream.aclose()
        else:
            await stream.send_all(saying(b"x"))

    return behave


def test_a_kept_connection_closed_as_it_is_used_is_tried_anew_once() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        assert await _bodies(client, 2) == [b"x"] * 2
        assert (len(server.requests), server.connections) == (3, 2)

    _serve(_closing_on({1}), check)


def test_it_is_not_tried_a_third_time() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        await client.ask(_GET, _MOST)
        with pytest.raises(Unreachable, match="without an answer"):
            await client.ask(_GET, _MOST)
        assert len(server.requests) == 3

    _serve(_closing_on({1, 2, 3}), check)


def test_it_is_not_tried_anew_once_a_byte_came() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        await client.ask(_GET, _MOST)
        with pytest.raises(Unreachable, match="in the middle of its headers"):
            await client.ask(_GET, _MOST)
        assert len(server.requests) == 2

    _serve(_closing_on({1}, b"H"), check)


def test_what_may_not_be_sent_twice_is_not() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        await client.ask(_GET, _MOST)
        with pytest.raises(Unreachable, match="without an answer"):
            await client.ask(_POST, _MOST)
        assert len(server.requests) == 2

    _serve(_closing_on({1}), check)


def test_cancelled_in_a_body_the_connection_is_closed_and_not_kept() -> None:
    async def behave(stream: Stream, number: int) -> None:
        if number:
            await stream.send_all(saying(b"x"))
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        half.set()
        with suppress(trio.BrokenResourceError):
            assert not await stream.receive_some(1)
        gone.set()

    async def check(client: Client, server: HostileServer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.ask, _GET, _MOST)
            await half.wait()
            nursery.cancel_scope.cancel()
        await gone.wait()
        assert await _bodies(client, 1) == [b"x"]
        assert server.connections == 2

    half, gone = trio.Event(), trio.Event()
    _serve(behave, check)


def test_a_body_that_is_not_read_costs_the_connection_and_nothing_else() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        for count in range(3):
            async with client.open(_GET) as response:
                assert response.head.status == 200
                if count == 1:
                    assert await response.piece() == b"x"
        assert await _bodies(client, 1) == [b"x"]
        assert server.connections == 4

    _serve(answering(saying(b"x")), check)


def test_an_answer_to_head_has_no_body_and_keeps_the_connection() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"

    async def check(client: Client, server: HostileServer) -> None:
        answers: list[Answer] = [await client.ask(Request("HEAD", "/x"), 10) for _ in range(3)]
        assert [(answer.status, answer.body) for answer in answers] == [(200, b"")] * 3
        assert server.connections == 1

    _serve(answering(head), check)


def test_nothing_listens() -> None:
    async def main() -> None:
        async with hostile_server(answering(b"")) as server:
            address = parse(server.url)
        for client in (Client("origin", address), Client("origin", parse("unix:///nowhere/at/all"))):
            with pytest.raises(Unreachable, match=r"origin cannot be reached: (Connection refused|No such file)"):
                await client.ask(_GET, _MOST)

    trio.run(main)


def test_a_host_that_has_no_name() -> None:
    async def main() -> None:
        with pytest.raises(Unreachable, match="origin cannot be reached") as failed:
            await Client("origin", parse("http://nowhere.invalid")).ask(_GET, _MOST)
        assert "online" in failed.value.hint

    trio.run(main)


def test_a_listener_that_takes_no_connection() -> None:
    async def main() -> None:
        with trio.socket.socket() as listener:
            await listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            queue = [await trio.open_tcp_stream("127.0.0.1", listener.getsockname()[1])]
            client = Client("origin", parse(url), limits=Limits(connect_s=0.3))
            with pytest.raises(Unreachable, match=r"cannot be reached within 0\.3 s"):
                await client.ask(_GET, _MOST)
            for stream in queue:
                await stream.aclose()

    trio.run(main)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    made, key = directory / "certificate", directory / "key"
    name = ["-subj", "/CN=tests", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *name]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def _contexts(certificate: tuple[Path, Path], trusted: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*certificate)
    return serving, ssl.create_default_context(cafile=certificate[0] if trusted else None)


def test_tls(certificate: tuple[Path, Path]) -> None:
    async def check(client: Client, server: HostileServer) -> None:
        assert await _bodies(client, 3) == [b"x" * 300_000] * 3
        assert server.connections == 1

    _serve(answering(saying(b"x" * 300_000)), check, _contexts(certificate, trusted=True))


def test_a_certificate_that_nobody_vouches_for(certificate: tuple[Path, Path]) -> None:
    async def check(client: Client, server: HostileServer) -> None:
        with pytest.raises(Unreachable, match=r"origin cannot be reached: .*self-signed certificate"):
            await client.ask(_GET, _MOST)
        assert not server.requests, "and no credentials were sent"

    _serve(answering(saying(b"x")), check, _contexts(certificate, trusted=False))


def test_a_whole_answer_longer_than_allowed_is_an_error_and_one_as_long_is_none() -> None:
    async def check(client: Client, server: HostileServer) -> None:
        assert (await client.ask(_GET, 5)).body == b"12345"
        with pytest.raises(OriginError, match="sends more than the 4 bytes"):
            await client.ask(_GET, 4)

    _serve(answering(saying(b"12345")), check)


def test_the_standing_limits_leave_each_of_three_origins_a_turn_within_a_minute() -> None:
    limits = Limits()
    assert (limits.connect_s, limits.silence_s) == (5, 10)
    assert limits.grace_s + (2 << 20) / limits.floor < 180
    assert "canary" not in repr(Client("origin", parse("http://x"), "Bearer canary"))
