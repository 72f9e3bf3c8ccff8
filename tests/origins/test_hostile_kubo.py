"""What a false or failing Kubo answers to commands, most of it with status 200."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress

import pytest
import trio

from ipfsfs.errors import NotHeld, OriginError, Unreachable
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.origin import Origin
from tests.origins.test_hostile import Ask, then_repeating
from tests.support.cars import car_of, endless, pieces, raw
from tests.support.hostile_server import Behaviour, HostileServer, Stream, answering, saying

_CID = raw(b"the right bytes")
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Stream-Error\r\n\r\n"


def _chunked(body: bytes, trailer: bytes = b"") -> bytes:
    return _CHUNKED + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n" + trailer + b"\r\n"


def _ask(behaviour: Behaviour, check: Callable[[Kubo], Awaitable[object]]) -> None:
    async def with_kubo(origin: Origin, server: HostileServer) -> None:
        assert isinstance(origin, Kubo)
        await check(origin)

    Ask("kubo").run(behaviour, with_kubo)


def _refused(
    behaviour: Behaviour, call: Callable[[Kubo], Awaitable[object]], said: str, kind: type[OriginError] = OriginError
) -> None:
    async def check(kubo: Kubo) -> None:
        with pytest.raises(kind, match=said):
            await call(kubo)

    _ask(behaviour, check)


async def _put(kubo: Kubo) -> None:
    await kubo.put(pieces(car_of([b"a" * 9000]), 1000))


def _after_the_body(answer: bytes) -> Behaviour:
    """Reads the whole request first, as Kubo does."""

    async def behave(stream: Stream, number: int) -> None:
        body = b""
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += await stream.receive_some(4096)
        await stream.send_all(answer)

    return behave


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "does not say that it stored anything"),
        (b'{"Stats":{"BlockCount":0,"BlockBytesCount":0}}\n', "was sent 90.. bytes and stored 0, in 0 blocks"),
        (b'{"Stats":{"BlockCount":-1,"BlockBytesCount":9}}\n', "no BlockCount"),
        (b'{"Stats":{"BlockCount":true,"BlockBytesCount":9}}\n', "no BlockCount"),
        (b'{"Root":{"Cid":{"/":"bafy"},"PinErrorMsg":"no room"}}\n', "could not keep a root: 'no room'"),
        (b'{"Message":"disk full","Code":0,"Type":"error"}\n', "answers: disk full"),
        (b"<html>welcome</html>", "does not answer as Kubo does"),
        (b"[" * 100_000, "does not answer as Kubo does"),
        (b"[1]\n", "does not answer as Kubo does"),
    ],
)
def test_an_import_that_stored_nothing(answer: bytes, said: str) -> None:
    _refused(_after_the_body(_chunked(answer)), _put, said)


def test_an_error_in_the_trailer_of_a_success() -> None:
    stats = b'{"Stats":{"BlockCount":1,"BlockBytesCount":9000}}\n'
    late = _chunked(stats, b"X-Stream-Error: no space left on device\r\n")
    _refused(_after_the_body(late), _put, "answers: no space left on device")
    late = _chunked(b"half a block", b"x-stream-error: ipld: could not find bafkx\r\n")
    _refused(answering(late), lambda kubo: kubo.block(_CID), "could not find bafkx", NotHeld)


def test_a_huge_line() -> None:
    huge = then_repeating(_CHUNKED, b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    _refused(huge, lambda kubo: kubo.has(_CID), "sends more than the 16384 bytes")
    _refused(huge, lambda kubo: kubo.pin(_CID, "name"), "a line longer than 262144 bytes")


@pytest.mark.parametrize("status", ["403 Forbidden", "500 Internal Server Error"])
def test_a_refusal_before_the_body_was_read_is_said_and_ends_the_sending(status: str) -> None:
    sent: list[int] = []

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b"you may not", status))
        await trio.sleep_forever()

    _refused(behave, lambda kubo: kubo.put(endless(sent)), f"{status[:3]}: you may not")
    assert len(sent) < 100


def test_a_refusal_and_a_closed_connection_before_the_body_was_read() -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b"you may not", "403 Forbidden"))
        await stream.aclose()

    _refused(behave, lambda kubo: kubo.put(endless([])), "403: you may not")


def test_a_success_before_the_body_was_read_is_none() -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b'{"Stats":{"BlockCount":9,"BlockBytesCount":9000000}}\n'))
        await stream.aclose()

    _refused(behave, lambda kubo: kubo.put(endless([])), "broke", Unreachable)


def test_answers_for_something_else() -> None:
    other = (
        b'{"Key":"bafkother","Size":1,"Pins":["bafkother"],"Value":"/ipfs/bafkother","Name":"k","Keys":[{"Name":"k"}]}'
    )
    answer = answering(saying(other))
    _refused(answer, lambda kubo: kubo.has(_CID), "answers for another block")
    _refused(answer, lambda kubo: kubo.pin(_CID, "name"), "pinned something else")
    _refused(answer, lambda kubo: kubo.publish_name("k", _CID), "published something else")
    path = answering(saying(b'{"Path":"/ipfs/bafkother/../../etc"}'))
    _refused(path, lambda kubo: kubo.resolve_name("k51"), "which is no CID")


def test_a_pin_that_ends_without_a_word() -> None:
    _refused(answering(_chunked(b'{"Progress":3}\n')), lambda kubo: kubo.pin(_CID, "n"), "ends without a word")


def test_the_first_error_ends_all_questions() -> None:
    async def behave(stream: Stream, number: int) -> None:
        if number == 20:
            await stream.send_all(saying(b"enough", "500 Internal Server Error"))
        else:
            await stream.send_all(saying(b'{"Message":"ipld: could not find x","Type":"error"}', "500 Internal"))

    blocks = [raw(str(number).encode()) for number in range(10_000)]
    _refused(behave, lambda kubo: kubo.missing(blocks), "500: enough")


def test_after_a_search_in_vain_the_next_are_short_until_something_is_found() -> None:
    late = saying(b'{"Message":"context deadline exceeded","Code":0,"Type":"error"}', "500 Internal Server Error")

    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(saying(b"the right bytes") if number == 2 else late)

    async def with_kubo(origin: Origin, server: HostileServer) -> None:
        for number in range(4):
            with suppress(NotHeld) if number != 2 else nullcontext():
                await origin.block(_CID)
        assert [request.split("timeout=")[1].split()[0] for request in server.requests] == ["8s", "1s", "1s", "8s"]

    Ask("kubo").run(behave, with_kubo)
