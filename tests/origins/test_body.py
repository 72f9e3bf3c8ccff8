"""Bodies as they are framed: cut as h11 cuts them, whatever the pieces in which they come; in bounded memory."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator, Sequence

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfsfs.origins import body
from ipfsfs.origins.body import Body
from ipfsfs.origins.message import Head, text_of

_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = Head(200, (("transfer-encoding", "chunked"),))
_FRAMINGS = {
    b"Transfer-Encoding: chunked\r\n\r\n": _CHUNKED,
    b"Content-Length: 7\r\n\r\n": Head(200, (("content-length", "7"),)),
    b"Content-Length: 0\r\n\r\n": Head(200, (("content-length", "0"),)),
    b"\r\n": Head(200, ()),
}
_PARTS = st.sampled_from(
    [
        b"5\r\nhello\r\n",
        b"05;name=value\r\nhello\r\n",
        b"A \r\n0123456789\r\n",
        b"0\r\n",
        b"0\r\nX-Stream-Error: not found \r\n",
        b"Other:\tx\xff\r\n",
        b"\r\n",
        b"5\nhello\n",
        b"-5\r\n",
        b" 5\r\n",
        b"5_0\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"X Y: z\r\n",
        b"1234567890abcdef0\r\n",
        b"hello",
    ]
)


def _pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[start:end] for start, end in itertools.pairwise(edges))


def _ours(answer: Body, data: bytes, cuts: Sequence[int], *, closes: bool) -> tuple[bytes, object] | None:
    """The content and the trailers, None where the body is refused or does not end."""
    content, rest = b"", b""
    try:
        for piece in _pieces(data, cuts):
            if answer.ended:
                rest += piece
            else:
                content += b"".join(answer.take(piece))
        if closes and not answer.ended:
            answer.close()
    except (body.Malformed, body.TooLong, body.TooMuchFraming, body.CutOff):
        return None
    if not answer.ended:
        return None
    assert data.endswith(answer.rest + rest)
    return content, answer.trailers


def _theirs(framing: bytes, data: bytes, *, closes: bool) -> tuple[bytes, object] | None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(_HEAD + framing + data)
    if closes:
        connection.receive_data(b"")
    content = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                return content, text_of(event.headers)
            elif not isinstance(event, h11.Response):
                return None
    except h11.RemoteProtocolError:
        return None


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(_FRAMINGS)),
    st.lists(_PARTS | st.binary(max_size=4), max_size=8).map(b"".join),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
)
def test_a_body_is_what_h11_takes_it_for(framing: bytes, data: bytes, cuts: list[int], closes: bool) -> None:
    """But for what h11 bears with: lines of trailers that go on in the next, or end without a carriage return."""
    theirs = _theirs(framing, data, closes=closes)
    ours = _ours(body.body_of("GET", _FRAMINGS[framing]), data, cuts, closes=closes)
    assert ours == theirs or (ours is None and data.count(b"\n") > data.count(b"\r\n"))


def test_answers_without_a_body_have_none() -> None:
    lengthy = (("content-length", "100"),)
    for method, head in (("HEAD", Head(200, lengthy)), ("GET", Head(304, lengthy)), ("GET", Head(204, ()))):
        assert body.body_of(method, head).ended


@pytest.mark.parametrize("size", [1, 6, 100, 4096])
def test_many_small_chunks_take_no_more_memory_than_their_content(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    data = chunk * ((512 << 10) // len(chunk))
    tracemalloc.start()
    try:
        answer = body.body_of("GET", _CHUNKED)
        found: list[object] = []
        try:
            for _ in range(4):
                found += answer.take(data)
        except body.TooMuchFraming:
            assert size < 7, "there is more content than framing"
        else:
            assert size >= 6
        del data
        assert tracemalloc.get_traced_memory()[0] < 4 << 20, "what is kept"
        assert tracemalloc.get_traced_memory()[1] < 20 << 20, "at any moment"
    finally:
        tracemalloc.stop()
