"""A client of one server: connections that are kept, and requests that never leave this server.

Every request goes to the one address that the client was made with. A redirect is followed only where the caller allows
it, and only to the same scheme, host (or a subdomain of it, as gateways redirect) and port; it goes over the
same address, without asking DNS. Credentials are sent to exactly that host. No proxy and no cookie is known.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urljoin, urlsplit

import trio

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins.address import Address
from ipfsfs.origins.connection import Closed, Connection
from ipfsfs.origins.message import TEXT_MAX, Answer, Head, Limits, Pairs, Request
from ipfsfs.origins.said import shown
from ipfsfs.origins.upload import Upload
from ipfsfs.printed import printable

CONNECTIONS_MAX: Final = 16
"""To one server at once. Eight saturate a loopback; a gateway answers 429 to many more."""
_KEPT_S: Final = 30.0
"""Servers close what is idle for a minute or more; what we close first costs no failed request."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_RUNNING: Final = "Is the server running, and the address right?"
_ONLINE: Final = "Is this machine online, and the name right? What is here can be read without a network."
_AGENT: Final = "ipfsfs"


@dataclass(slots=True, eq=False)
class Response:
    """An answer whose body is still to be read, within the `async with` that gave it."""

    head: Head
    _connection: Connection
    ended: bool = False
    """Whether the body was read to its end, and that was seen."""

    @property
    def trailers(self) -> Pairs:
        """What came after the body; empty before it was read to its end."""
        return self._connection.trailers

    async def piece(self) -> bytes:
        """The next part of the body, empty at its end. Its whole length is the caller's to bound."""
        piece = await self._connection.piece()
        self.ended = not piece
        return piece

    async def read(self, most: int) -> bytes:
        """The whole body. Raises OriginError if it is longer than `most` bytes, before it is read where it says so."""
        said = self.head.header("content-length")
        if said.isdigit() and len(said) < 20 and int(said) > most:
            raise self._too_long(most)
        body = await self.beginning(most + 1)
        if len(body) > most:
            raise self._too_long(most)
        return body

    async def beginning(self, most: int) -> bytes:
        """The body, or its first `most` bytes."""
        body = await self._connection.beginning(most)
        self.ended = len(body) < most
        return body if len(body) <= most else body[:most]

    def _too_long(self, most: int) -> OriginError:
        return OriginError(f"{self._connection.name} sends more than the {most} bytes that the answer may have")


@dataclass(slots=True, eq=False)
class Client:
    """`name`: the origin's, for errors. `authorization`: value of that header, empty for none."""

    name: str
    address: Address
    authorization: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    _kept: deque[Connection] = field(default_factory=deque, repr=False)
    _slots: trio.Semaphore = field(
        default_factory=lambda: trio.Semaphore(CONNECTIONS_MAX, max_value=CONNECTIONS_MAX), repr=False
    )

    async def ask(self, request: Request, most: int) -> Answer:
        """Send a request and read the whole answer: at most `most` bytes of a success, the beginning of a refusal.

        Raises Unreachable and OriginError; a refusal is an answer like any other.
        """
        async with self.open(request) as response:
            if request.method == "HEAD":
                body = await response.piece()
            elif response.head.status < 300:
                body = await response.read(most)
            else:
                body = await response.beginning(TEXT_MAX)
            return Answer(response.head, body, response.trailers)

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncGenerator[Response]:
        """Send a request; the body of the answer is read by the caller. A body not read to its end costs the
        connection, and so do cancellation and errors."""
        async with self._slots:
            connection, head = await self._begin(request)
            response = Response(head, connection)
            try:
                yield response
            except BaseException:
                await connection.close()
                raise
            await self._keep(response, connection)

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        while self._kept:
            await self._kept.pop().close()

    async def _begin(self, request: Request) -> tuple[Connection, Head]:
        target, host = self.address.prefix + request.target, self.address.authority
        for left in range(request.redirects, -1, -1):
            connection, head = await self._send(request, target, host)
            if head.status not in _REDIRECTS or request.redirects == 0:
                return connection, head
            await self._drop(Response(head, connection), connection)
            if left:
                target, host = self._redirected(head, host, target)
        raise OriginError(f"{self.name} redirects more than {request.redirects} times")

    def _redirected(self, head: Head, host: str, target: str) -> tuple[str, str]:
        here = f"{self.address.scheme}://{host}{target}"
        try:
            url = urljoin(here, head.header("location"))
            parts = urlsplit(url)
            to = replace(self.address, host=parts.hostname or "", port=parts.port or _default_port(parts.scheme))
        except ValueError:
            raise OriginError(f"{self.name} redirects to what is no URL") from None
        same_host = to.host == self.address.host or to.host.endswith("." + self.address.host)
        plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
        if not (plain and same_host and parts.scheme == self.address.scheme and to.port == self.address.port):
            where = shown(f"{parts.scheme}://{parts.hostname or ''}", self.authorization, 200)
            raise OriginError(f"{self.name} redirects to {where}, which is another server: not followed")
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), to.authority

    async def _send(self, request: Request, target: str, host: str) -> tuple[Connection, Head]:
        """Send over a kept connection, if it may be sent twice, else over a new one.

        A server may close a kept connection in the moment in which it is used; then no byte of an answer came, and
        the request is sent once more.
        """
        kept = await self._take() if request.repeatable and request.body is None else None
        if kept is not None:
            try:
                return kept, await self._exchange(kept, request, target, host)
            except Closed:
                if kept.heard:
                    raise
        connection = await self._connect()
        return connection, await self._exchange(connection, request, target, host)

    async def _exchange(self, connection: Connection, request: Request, target: str, host: str) -> Head:
        headers: Pairs = (("Host", host), ("User-Agent", _AGENT), *request.headers)
        if self.authorization and host == self.address.authority:
            headers = (*headers, ("Authorization", self.authorization))
        answer_s = self.limits.silence_s if request.answer_s is None else request.answer_s
        try:
            if request.body is not None:
                await connection.begin(request, target, (*headers, ("Transfer-Encoding", "chunked")))
                return await Upload(connection, request.body, answer_s).run()
            if request.method == "POST":
                headers = (*headers, ("Content-Length", str(len(request.content))))
            await connection.begin(request, target, headers)
            return await connection.head(answer_s)
        except BaseException:
            await connection.close()
            raise

    async def _drop(self, response: Response, connection: Connection) -> None:
        """Have done with an answer whose body does not matter."""
        try:
            await response.beginning(TEXT_MAX)
        except BaseException:
            await connection.close()
            raise
        await self._keep(response, connection)

    async def _keep(self, response: Response, connection: Connection) -> None:
        """Keep the connection for another request, if its answer was read to the end, else close it."""
        if response.ended and connection.reusable:
            connection.recycle()
            self._kept.append(connection)
        else:
            await connection.close()

    async def _take(self) -> Connection | None:
        """The kept connection used last, if one is open."""
        while self._kept:
            connection = self._kept.pop()
            if connection.fresh and trio.current_time() - connection.used_at < _KEPT_S:
                return connection
            await connection.close()
        return None

    async def _connect(self) -> Connection:
        with trio.move_on_after(self.limits.connect_s):
            try:
                return Connection(self.name, await self._stream(), self.limits, self.authorization)
            except (OSError, UnicodeError, trio.BrokenResourceError) as error:
                raise Unreachable(f"{self.name} cannot be reached: {_reason(error)}", hint=_hint(error)) from None
        raise Unreachable(f"{self.name} cannot be reached within {self.limits.connect_s:g} s", hint=_RUNNING)

    async def _stream(self) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        if self.address.socket:
            return await trio.open_unix_socket(self.address.socket)
        stream = await trio.open_tcp_stream(self.address.connect or self.address.host, self.address.port)
        if self.address.scheme == "http":
            return stream
        if self.tls is None:
            self.tls = ssl.create_default_context()
        secure = trio.SSLStream(stream, self.tls, server_hostname=self.address.host, https_compatible=True)
        try:
            await secure.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return secure


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _hint(error: BaseException) -> str:
    """What to look at: a name that nobody resolves says nothing of a server."""
    return _ONLINE if isinstance(error.__cause__ or error, socket.gaierror) else _RUNNING


def _reason(error: BaseException) -> str:
    """Why there is no connection, in the system's own words: trio wraps them, once for each address of a host."""
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        return ", ".join(sorted({_reason(one) for one in cause.exceptions}))
    if isinstance(cause, OSError):
        error = cause
    if isinstance(error, ssl.SSLError):
        return printable(getattr(error, "verify_message", "") or error.reason or "TLS failed")
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    text = error.strerror if isinstance(error, OSError) else None
    return printable(text or str(error) or type(error).__name__)
