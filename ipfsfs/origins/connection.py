"""One connection to a server that speaks HTTP/1.1: one request after the other, each with bounds on size and time.

h11 knows the protocol, trio moves the bytes; here is how much and how long. What is not read to its end is not used
again (`reusable`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import h11
import trio

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins.message import HEADER_MAX, Head, Limits, Pairs, Request, text_of
from ipfsfs.origins.said import shown

_RECEIVE: Final = 128 << 10
_SEND: Final = 64 << 10
_INTERIM_MAX: Final = 8
"""Answers with a status of 1xx before the real one."""
_FRAMING_MAX: Final = 64 << 10
"""Bytes of headers and chunk sizes that are borne beside as many bytes again as there is content."""
_TOO_LONG: Final = 431
"""The status by which h11 says that headers, trailers or a chunk's size line are longer than HEADER_MAX."""


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
    trailers: Pairs = ()
    _state: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_MAX)
    )
    _grace_s: float = 0.0
    _received: int = 0
    _content: int = 0
    _ends_at: float = math.inf
    """When the whole answer must be here, were it to end now."""

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end, nothing came after it, and both sides keep the connection."""
        done = self._state.our_state is h11.DONE and self._state.their_state is h11.DONE
        return done and self._state.trailing_data == (b"", False)

    @property
    def fresh(self) -> bool:
        """Whether a kept connection is still open and silent; bytes that nobody asked for count against it."""
        transport = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        return not transport.socket.is_readable()

    def recycle(self) -> None:
        """Make ready for the next request. Only where `reusable`."""
        self._state.start_next_cycle()
        self.used_at = trio.current_time()

    async def begin(self, request: Request, target: str, headers: Pairs) -> None:
        """Send method, target and headers, and the end of the request where it has no body."""
        self.heard, self.trailers = False, ()
        self._received = self._content = 0
        self._ends_at = math.inf
        self._grace_s = self.limits.grace_s if request.grace_s is None else request.grace_s
        start = h11.Request(method=request.method, target=target, headers=list(headers))
        data = self._state.send(start) or b""
        if request.body is None:
            data += self._state.send(h11.EndOfMessage()) or b""
        await self._send(data)

    async def send_piece(self, piece: bytes) -> None:
        """Send a part of the body."""
        if piece:
            await self._send(self._state.send(h11.Data(data=piece)) or b"")

    async def send_end(self) -> None:
        """Say that the body is complete."""
        await self._send(self._state.send(h11.EndOfMessage()) or b"")

    async def head(self, answer_s: float) -> Head:
        """Status and headers of the answer, whose first byte may take `answer_s`."""
        for _ in range(_INTERIM_MAX + 1):
            event = await self._event(answer_s)
            if isinstance(event, h11.Response):
                return Head(event.status_code, text_of(event.headers))
            if not isinstance(event, h11.InformationalResponse):
                break
        raise OriginError(f"{self.name} sends no answer that makes sense in HTTP/1.1")

    async def piece(self) -> bytes:
        """The next part of the body, empty at its end; `trailers` are known then."""
        event = await self._event(self.limits.silence_s)
        if isinstance(event, h11.Data):
            self._content += len(event.data)
            return event.data
        if isinstance(event, h11.EndOfMessage):
            self.trailers = text_of(event.headers)
            return b""
        raise OriginError(f"{self.name} sends no body that makes sense in HTTP/1.1")

    async def close(self) -> None:
        """Close at once, without a farewell, even where the task is cancelled."""
        await trio.aclose_forcefully(self.stream)

    async def _event(self, silence_s: float) -> object:
        while True:
            try:
                event = self._state.next_event()
            except h11.RemoteProtocolError as error:
                raise self._nonsense(error) from None
            if event is not h11.NEED_DATA:
                return event
            if self._received - self._content > _FRAMING_MAX + self._content:
                raise OriginError(f"{self.name} sends more framing than content")
            await self._receive(silence_s if not self.heard else self.limits.silence_s)

    async def _receive(self, silence_s: float) -> None:
        now = trio.current_time()
        data: bytes | bytearray = b""
        with trio.move_on_at(min(now + silence_s, self._ends_at)) as scope:
            try:
                data = await self.stream.receive_some(_RECEIVE)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Closed(f"{self.name} broke the connection{_cause(error)}") from None
        if scope.cancelled_caught:
            raise Unreachable(self._why_late(now + silence_s, silence_s))
        self._state.receive_data(bytes(data))
        if not data:
            self._end()
            return
        if not self.heard:
            self.heard = True
            self._ends_at = trio.current_time() + self._grace_s
        self._received += len(data)
        self._ends_at += len(data) / self.limits.floor

    def _end(self) -> None:
        """The server sends no more: an end for some answers, which h11 knows, and a fault in all others."""
        if self._state.their_state is h11.SEND_RESPONSE:
            what = "in the middle of its headers" if self.heard else "without an answer"
            raise Closed(f"{self.name} closed the connection {what}")

    def _why_late(self, silent_at: float, silence_s: float) -> str:
        if self._ends_at < silent_at:
            return f"{self.name} sends too slowly: {self._received} bytes, below {self.limits.floor} bytes a second"
        return f"{self.name} {'sent nothing more' if self.heard else 'does not answer'} for {silence_s:g} s"

    def _nonsense(self, error: h11.RemoteProtocolError) -> OriginError:
        if error.error_status_hint == _TOO_LONG:
            return OriginError(f"{self.name} sends headers longer than {HEADER_MAX >> 10} KiB")
        if "closed connection" in str(error):
            return Closed(f"{self.name} closed the connection in the middle of the body")
        return OriginError(f"{self.name} does not speak HTTP/1.1: {shown(str(error), self.authorization, 200)}")

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        for at in range(0, len(view), _SEND):
            with trio.move_on_after(self.limits.silence_s) as scope:
                try:
                    await self.stream.send_all(view[at : at + _SEND])
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise Closed(f"{self.name} broke the connection{_cause(error)}") from None
            if scope.cancelled_caught:
                raise Unreachable(f"{self.name} takes nothing more for {self.limits.silence_s:g} s")


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return f" ({cause.strerror})" if isinstance(cause, OSError) and cause.strerror else ""
