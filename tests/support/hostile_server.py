"""A small server on loopback that answers requests as a test says: wrongly, slowly, endlessly, or not at all."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Behaviour = Callable[[Stream, int], Awaitable[None]]
"""Answers a request whose header is read; the number counts the server's requests from 0. The connection is kept."""


@dataclass(slots=True)
class HostileServer:
    """`requests`: the header of each request that came, as text. `connections`: how many there were."""

    behaviour: Behaviour
    port: int = 0
    scheme: str = "http"
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def serve(self, stream: Stream) -> None:
        self.connections += 1
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            async with stream:
                while header := await _header(stream):
                    self.requests.append(header)
                    await self.behaviour(stream, len(self.requests) - 1)


@asynccontextmanager
async def hostile_server(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileServer]:
    """A server for the length of the block."""
    server = HostileServer(behaviour, scheme="https" if tls else "http")
    async with trio.open_nursery() as nursery:
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        server.port = listener.socket.getsockname()[1]
        if tls is None:
            nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        else:
            secure = trio.SSLListener(listener, tls, https_compatible=True)
            nursery.start_soon(trio.serve_listeners, server.serve, [secure])
        yield server
        nursery.cancel_scope.cancel()


def answering(answer: bytes) -> Behaviour:
    """Answers every request with these bytes."""

    async def answer_with(stream: Stream, number: int) -> None:
        await stream.send_all(answer)

    return answer_with


def saying(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer with that body."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def repeat(stream: Stream, piece: bytes, pause_s: float = 0.0) -> None:
    """Send the same for ever."""
    while True:
        await stream.send_all(piece)
        await trio.sleep(pause_s)


async def _header(stream: Stream) -> str:
    """Everything up to the empty line, read byte by byte so that the body stays in the socket. Empty at the end."""
    header = b""
    while not header.endswith(b"\r\n\r\n"):
        byte = await stream.receive_some(1)
        if not byte:
            return ""
        header += byte
    return header.decode("latin-1")
