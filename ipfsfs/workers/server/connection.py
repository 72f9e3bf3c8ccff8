"""One connection: requests that are read within bounds of size and time, and answers that are sent so.

A client that is slow with the head of a request, or to take an answer, is cut off: it would keep a place that others
need.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11
import trio

from ipfsfs.workers.server import answer
from ipfsfs.workers.server.answer import Answer
from ipfsfs.workers.server.caller import Ends
from ipfsfs.workers.server.capacity import TooBusy
from ipfsfs.workers.server.car_walk import Incomplete
from ipfsfs.workers.server.endpoints import BODY_MAX, PREFIX
from ipfsfs.workers.server.request import Request
from ipfsfs.workers.server.service import Service

HEAD_MAX: Final = 16 << 10
"""Bytes before a request's body; those that come at once may be `_HEAD_READ` more."""
IDLE_S: Final = 60.0
"""How long a connection is kept that asks nothing."""
REQUEST_S: Final = 10.0
"""How long a request may take to come, from its first byte on."""
PIECE_S: Final = 20.0
"""How long a client may take for each `_PIECE` bytes of an answer."""
_PIECE: Final = 256 << 10
_READ: Final = 64 << 10
_HEAD_READ: Final = 8 << 10
"""h11 counts the bytes of a head only while it is not wholly there."""
_SHORT: Final = 16 << 10
"""Bytes of a body that is not counted."""
_DRAINED_S: Final = 1.0
_METHODS_WITH_BODY: Final = ("POST",)


class _Bad(Exception):
    """A request that is none; after the answer the connection ends."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True, eq=False)
class Connection:
    """Serves one client until it goes, is silent for too long, or asks what is no request. `is_idle`: no request of it
    is being answered, so that it can be closed in favour of another."""

    stream: trio.SocketStream
    ends: Ends
    service: Service
    is_idle: bool = True
    since: float = field(default_factory=trio.current_time)
    """When it became idle."""
    _http: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
    )

    async def serve(self) -> None:
        """Answer requests. Never raises for what a client does."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.LocalProtocolError):
            while await self._one():
                self.is_idle, self.since = True, trio.current_time()

    async def _one(self) -> bool:
        """Answer a request; returns whether another may follow. Raises what ends the connection."""
        method = ""
        async with AsyncExitStack() as held:
            try:
                head = await self._head()
                if head is None:
                    return False
                self.is_idle = False
                method = head.method
                with trio.fail_after(REQUEST_S):
                    request = await self._with_body(head, held)
                answered = await self.service.answer(request, self.ends, held)
                must_end = False
            except _Bad as bad:
                answered, must_end = answer.error(bad.status, str(bad)), True
            except TooBusy:
                self.service.totals.busy += 1
                answered, must_end = answer.busy(), True
            except h11.RemoteProtocolError as error:
                status = error.error_status_hint if error.error_status_hint in (413, 414, 431, 501) else 400
                answered, must_end = answer.error(status, "not a request"), True
            await self._send(answered, method, must_end=must_end)
        if must_end or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            await self._end()
            return False
        self._http.start_next_cycle()
        return True

    async def _head(self) -> Request | None:
        """The head of the next request; None where the client has gone. Raises TooSlowError."""
        has_begun = bool(self._http.trailing_data[0])
        with trio.CancelScope(deadline=trio.current_time() + (REQUEST_S if has_begun else IDLE_S)) as scope:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    return _request(event)
                if event is not h11.NEED_DATA:
                    return None
                data = await self.stream.receive_some(_HEAD_READ)
                if data and not has_begun:
                    has_begun = True
                    scope.deadline = trio.current_time() + REQUEST_S
                self._http.receive_data(data)
        raise trio.TooSlowError

    async def _with_body(self, head: Request, held: AsyncExitStack) -> Request:
        """The request, with its body where it may have one. A body that is not short has a place until `held` is
        closed."""
        most = BODY_MAX if head.method in _METHODS_WITH_BODY and head.path.startswith(PREFIX) else 0
        if most and (refused := self.service.refusal(head)) is not None:
            raise _Bad(refused.status, refused.why)
        body, is_short = bytearray(), True
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > most:
                    raise _Bad(413, f"a body of at most {most} bytes is taken here")
                if is_short and len(body) > _SHORT:
                    is_short = False
                    await held.enter_async_context(self.service.bodies.place(self.ends.host))
            elif isinstance(event, h11.EndOfMessage):
                return Request(head.method, head.target, head.headers, bytes(body))
            elif event is h11.NEED_DATA:
                if int(head.header("content-length") or "0") > most:
                    raise _Bad(413, f"a body of at most {most} bytes is taken here")
                if self._http.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                    await self._put(self._http.send(go_on))
                self._http.receive_data(await self.stream.receive_some(_READ))
            else:
                raise _Bad(400, "not a request")

    async def _send(self, answered: Answer, method: str, *, must_end: bool) -> None:
        headers = list(answered.headers)
        if answered.pieces is None and answered.status != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(answered.body))))
        if must_end:
            headers.append(("Connection", "close"))
        headers.append(("Date", formatdate(usegmt=True)))
        response = h11.Response(status_code=answered.status, headers=headers, reason=answered.reason)
        head = self._http.send(response) or b""
        has_body = method != "HEAD" and answered.status != HTTPStatus.NOT_MODIFIED
        if has_body and answered.pieces is not None:
            await self._put(head)
            await self._send_pieces(answered.pieces)
        elif has_body and len(answered.body) < _PIECE:
            await self._put(head + (self._http.send(h11.Data(data=answered.body)) or b""))
        elif has_body:
            await self._put(head)
            await self._put(self._http.send(h11.Data(data=answered.body)))
        else:
            await self._put(head)
        await self._put(self._http.send(h11.EndOfMessage()))

    async def _send_pieces(self, pieces: AsyncIterator[tuple[bytes, bytes]]) -> None:
        """Raises BrokenResourceError where the rest cannot be had: the connection ends before its answer does."""
        try:
            async for before, block in pieces:
                await self._put(self._http.send(h11.Data(data=before + block)))
        except Incomplete:
            raise trio.BrokenResourceError from None

    async def _put(self, data: bytes | None) -> None:
        view = memoryview(data or b"")
        for at in range(0, len(view), _PIECE):
            with trio.fail_after(PIECE_S):
                await self.stream.send_all(view[at : at + _PIECE])

    async def _end(self) -> None:
        """Close so that what was sent arrives, though there may be bytes of the client that are not read."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(_DRAINED_S):
            await self.stream.send_eof()
            while await self.stream.receive_some(_READ):
                pass


def _request(event: h11.Request) -> Request:
    """Raises _Bad for what a proxy in front may read otherwise."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "content-length" in headers and "transfer-encoding" in headers:  # which of them counts is read in two ways
        raise _Bad(400, "a body with two lengths")
    return Request(event.method.decode("ascii"), event.target.decode("latin-1"), headers)
