"""One connection to a server that speaks HTTP/1.1: one request after the other, each with bounds on size and time.

h11 knows what heads look like, `body` how bodies are framed, trio moves the bytes; here is how much and how long. What
is not read to its end is not used again (`reusable`).
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import h11
import trio

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins import body
from ipfsfs.origins.body import Body, Piece
from ipfsfs.origins.message import HEADER_MAX, Head, Limits, Pairs, Request, text_of
from ipfsfs.origins.said import shown

_RECEIVE: Final = 512 << 10
"""Bytes that are received at once where it is not known how many come."""
_TOGETHER: Final = 64 << 10
"""Of a body as long as this, or longer, the kernel is asked to wake us once all of it is there: one piece takes half
the processor time of four that have to be put together."""
_BODY_PIECE: Final = 2 << 20
"""Bytes of a body of known length that are received at once: all of a block."""
_RECEIVE_HEAD: Final = 4 << 10
"""More than the head of most answers."""
_END_OF_HEAD: Final = b"\r\n\r\n"
_SEND: Final = 64 << 10
"""Bytes that a server must take within `Limits.silence_s`."""
_INTERIM_MAX: Final = 8
"""Answers with a status of 1xx before the real one."""
_TOO_LONG: Final = 431
"""The status by which h11 says that headers are longer than HEADER_MAX."""


class Closed(Unreachable):
    """The server closed the connection, or it broke."""


@dataclass(slots=True, eq=False)
class Connection:
    """`name`: of the origin, for errors. `authorization`: what it is asked with, which no error shows. `heard`: whether
    a byte came since the request was begun."""

    name: str
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    limits: Limits
    authorization: str = field(default="", repr=False)
    heard: bool = False
    used_at: float = field(default_factory=trio.current_time)
    _head: h11.Connection = field(init=False)
    _method: str = ""
    _body: Body = field(default_factory=lambda: body.Counted(0))
    _pending: bytes = b""
    """What came with the end of the head, and was not looked at."""
    _owed: bytes = b""
    """The end of the chunk that was sent last: it goes with the next, so that a large one is not copied."""
    _is_sent: bool = False
    """Whether the whole request is."""
    _is_kept: bool = False
    """Whether the server keeps the connection after its answer."""
    _grace_s: float = 0.0
    _received: int = 0
    _ends_at: float = math.inf
    """When the whole answer must be here, were it to end now."""

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, nothing came after it, and both sides keep the connection."""
        nothing_more = not self._pending and not self._body.rest
        return self._is_sent and self._is_kept and self._body.ended and nothing_more

    @property
    def fresh(self) -> bool:
        """Whether a kept connection is still open and silent; bytes that nobody asked for count against it."""
        transport = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        return not transport.socket.is_readable()

    @property
    def trailers(self) -> Pairs:
        """The headers that came behind the body; empty before it was read to its end."""
        return self._body.trailers

    def recycle(self) -> None:
        """Make ready for the next request. Only where `reusable`."""
        self.used_at = trio.current_time()

    async def begin(self, request: Request, target: str, headers: Pairs) -> None:
        """Send method, target and headers; that is the end of the request where it has no body."""
        self.heard = self._is_sent = self._is_kept = False
        self._received = 0
        self._ends_at = math.inf
        self._grace_s = self.limits.grace_s if request.grace_s is None else request.grace_s
        self._method, self._pending, self._owed = request.method, b"", b""
        self._head = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_MAX)
        start = h11.Request(method=request.method, target=target, headers=list(headers))
        data = self._head.send(start) or b""
        if request.body is None:
            if request.content:
                data += self._head.send(h11.Data(data=request.content)) or b""
            data += self._head.send(h11.EndOfMessage()) or b""
        await self._send(data)
        self._is_sent = request.body is None

    async def send_piece(self, piece: bytes) -> None:
        """Send a part of the body, as a chunk."""
        if piece:
            await self._send(b"%b%x\r\n" % (self._owed, len(piece)))
            await self._send(piece)
            self._owed = b"\r\n"

    async def send_end(self) -> None:
        """Say that the body is complete."""
        await self._send(self._owed + b"0\r\n\r\n")
        self._is_sent = True

    async def head(self, answer_s: float) -> Head:
        """Status and headers of the answer, whose first byte may take `answer_s`."""
        for _ in range(_INTERIM_MAX + 1):
            event = await self._event(answer_s)
            if isinstance(event, h11.Response):
                return self._begin_body(event)
            if not isinstance(event, h11.InformationalResponse):
                break
        raise OriginError(f"{self.name} sends no answer that makes sense in HTTP/1.1")

    async def piece(self) -> bytes:
        """The next part of the body, empty at its end."""
        return _joined(await self._pieces())

    async def beginning(self, most: int) -> bytes:
        """The body, or its first `most` bytes and some more."""
        pieces: list[Piece] = []
        size = 0
        while size < most and (found := await self._pieces()):
            pieces += found
            size += sum(map(len, found))
        return _joined(pieces)

    async def close(self) -> None:
        """Close at once, without a farewell, even where the task is cancelled."""
        await trio.aclose_forcefully(self.stream)

    def _begin_body(self, answer: h11.Response) -> Head:
        head = Head(answer.status_code, text_of(answer.headers))
        self._body = body.body_of(self._method, head)
        self._pending, _ = self._head.trailing_data
        said = ",".join(value.lower() for name, value in head.headers if name == "connection")
        self._is_kept = answer.http_version == b"1.1" and "close" not in map(str.strip, said.split(","))
        return head

    async def _pieces(self) -> Sequence[Piece]:
        """What came next of the body; nothing at its end."""
        while not self._body.ended:
            data, self._pending = self._pending, b""
            try:
                if data or (data := await self._receive_body()):
                    if found := self._body.take(data):
                        return found
                else:
                    self._body.close()
            except body.CutOff:
                raise Closed(f"{self.name} closed the connection in the middle of the body") from None
            except body.TooMuchFraming:
                raise OriginError(f"{self.name} sends more framing than content") from None
            except body.TooLong:
                raise self._too_long() from None
            except body.Malformed as error:
                said = shown(str(error), self.authorization, 200)
                raise OriginError(f"{self.name} does not speak HTTP/1.1: {said}") from None
        return ()

    async def _receive_body(self) -> bytes:
        """The next bytes of the body, as many as possible; nothing where the server sends no more."""
        left = self._body.left
        if left is not None and left >= _TOGETHER:
            return await self._receive(self.limits.silence_s, partial(self._all, min(left, _BODY_PIECE)))
        return await self._receive(self.limits.silence_s, partial(self.stream.receive_some, left or _RECEIVE))

    async def _event(self, silence_s: float) -> object:
        """The next part of the head."""
        while True:
            try:
                event = self._head.next_event()
            except h11.RemoteProtocolError as error:
                if error.error_status_hint == _TOO_LONG:
                    raise self._too_long() from None
                said = shown(str(error), self.authorization, 200)
                raise OriginError(f"{self.name} does not speak HTTP/1.1: {said}") from None
            if event is not h11.NEED_DATA:
                return event
            data = await self._receive(silence_s if not self.heard else self.limits.silence_s, self._some_of_head)
            if not data:
                what = "in the middle of its headers" if self.heard else "without an answer"
                raise Closed(f"{self.name} closed the connection {what}")
            self._head.receive_data(data)

    async def _receive(self, silence_s: float, receive: Callable[[], Awaitable[bytes | bytearray]]) -> bytes:
        """What comes next; nothing where the server sends no more."""
        now = trio.current_time()
        data: bytes | bytearray = b""
        with trio.move_on_at(min(now + silence_s, self._ends_at)) as scope:
            try:
                data = await receive()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Closed(f"{self.name} broke the connection{_cause(error)}") from None
            except OSError as error:
                raise Closed(f"{self.name} broke the connection{_reason(error)}") from None
        if scope.cancelled_caught and not (data := self._waiting()):
            raise Unreachable(self._why_late(now + silence_s, silence_s))
        if data and not self.heard:
            self.heard = True
            self._ends_at = trio.current_time() + self._grace_s
        self._received += len(data)
        self._ends_at += len(data) / self.limits.floor
        return bytes(data)

    async def _some_of_head(self) -> bytes | bytearray:
        """What came, but nothing of a body that is longer than the head: it is received apart, in one piece."""
        if isinstance(self.stream, trio.SSLStream):
            return await self.stream.receive_some(_RECEIVE_HEAD)
        seen = await self.stream.socket.recv(_RECEIVE_HEAD, socket.MSG_PEEK)
        end = seen.find(_END_OF_HEAD) if len(seen) == _RECEIVE_HEAD else -1
        return await self.stream.socket.recv(len(seen) if end < 0 else end + len(_END_OF_HEAD))

    async def _all(self, count: int) -> bytes | bytearray:
        """So many bytes, or what comes before the end."""
        if isinstance(self.stream, trio.SSLStream):
            return await self.stream.receive_some(count)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        try:
            await trio.lowlevel.wait_readable(self.stream.socket)
        finally:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return await self.stream.socket.recv(count)

    def _waiting(self) -> bytes:
        """What has come that `_all` was not woken for."""
        if isinstance(self.stream, trio.SocketStream):
            with suppress(OSError):
                return os.read(self.stream.socket.fileno(), _BODY_PIECE)
        return b""

    def _why_late(self, silent_at: float, silence_s: float) -> str:
        if self._ends_at < silent_at:
            return f"{self.name} sends too slowly: {self._received} bytes, below {self.limits.floor} bytes a second"
        return f"{self.name} {'sent nothing more' if self.heard else 'does not answer'} for {silence_s:g} s"

    def _too_long(self) -> OriginError:
        return OriginError(f"{self.name} sends headers longer than {HEADER_MAX >> 10} KiB")

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            with trio.move_on_after(self.limits.silence_s) as scope:
                try:
                    view = await self._send_some(view)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise Closed(f"{self.name} broke the connection{_cause(error)}") from None
                except OSError as error:
                    raise Closed(f"{self.name} broke the connection{_reason(error)}") from None
            if scope.cancelled_caught:
                raise Unreachable(f"{self.name} takes nothing more for {self.limits.silence_s:g} s")

    async def _send_some(self, view: memoryview) -> memoryview:
        """Send the beginning of something; returns what is left."""
        if isinstance(self.stream, trio.SocketStream):
            return view[await self.stream.socket.send(view) :]
        await self.stream.send_all(view[:_SEND])
        return view[_SEND:]


def _joined(pieces: Sequence[Piece]) -> bytes:
    only = pieces[0] if len(pieces) == 1 else None
    return only if isinstance(only, bytes) else b"".join(pieces)


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return _reason(cause) if isinstance(cause, OSError) else ""


def _reason(error: OSError) -> str:
    return f" ({os.strerror(error.errno)})" if error.errno else ""
