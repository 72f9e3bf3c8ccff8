"""Any bytes as an answer: a block or an error of this program's, in bounded time, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.errors import OriginError
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.message import Limits
from ipfsfs.origins.origin import Origin
from ipfsfs.origins.registry import open_origin
from ipfsfs.origins.settings import OriginSettings
from tests.support.cars import car_of, pieces, raw
from tests.support.hostile_server import Stream, hostile_server

_CID = raw(b"")
_LIMITS = Limits(connect_s=1, silence_s=1, grace_s=1)
_FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\n",
    b"HTTP/1.1 301 Moved\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 405 No\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Location: /x\r\n",
    b"Location: \xff\x00://[\r\n",
    b"Retry-After: \xb2\r\n",
    b"Trailer: X-Stream-Error\r\n",
    b"X-Stream-Error: ipld: could not find\r\n",
    b"\r\n",
    b"5\r\n",
    b"0\r\n",
    b"hello",
    b'{"Message":"m","Type":"error"}\n',
    b'{"Type":"error","Message":[1]}\n',
    b'{"Key":1,"Keys":[1],"Pins":{},"Name":[],"Value":null,"Path":"/ipfs/\xff","Progress":-1,"Stats":{}}\n',
    b'{"Key":"x","Keys":[{"Name":{}}],"Pins":[[]],"Progress":1e9}\n',
    b"[[[[",
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(_FRAGMENTS) | st.binary(max_size=20), max_size=12).map(b"".join))
def test_any_answer_is_a_block_or_an_error(answer: bytes) -> None:
    async def behave(stream: Stream, number: int) -> None:
        await stream.send_all(answer)
        await stream.aclose()

    async def main() -> None:
        async with hostile_server(behave) as server:
            for kind in ("gateway", "kubo"):
                origin = open_origin(OriginSettings(kind, server.url), _LIMITS)
                for call in _calls(origin):
                    said = await _error_of(call)
                    assert said is None or (server.url in said and said.isprintable())
                await origin.aclose()

    trio.run(main)


def _calls(origin: Origin) -> list[Callable[[], Awaitable[object]]]:
    calls: list[Callable[[], Awaitable[object]]] = [lambda: origin.block(_CID), lambda: origin.has(_CID)]
    if isinstance(origin, Kubo):
        calls += [
            lambda: origin.missing([_CID]),
            lambda: origin.put(pieces(car_of([b"x"]), 10)),
            lambda: origin.pin(_CID, "name"),
            lambda: origin.publish_name("key", _CID),
            lambda: origin.resolve_name("k51"),
        ]
    return calls


async def _error_of(call: Callable[[], Awaitable[object]]) -> str | None:
    with trio.fail_after(5):
        try:
            await call()
        except OriginError as error:
            return str(error)
    return None
