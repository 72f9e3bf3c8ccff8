"""The exporter: the process that serves metrics to Prometheus by HTTP.

Started as `python -m ipfsfs.daemon.metrics.exporter LISTENING REQUESTS RESULTS STORE`: a socket that listens, and the
two pipes of every worker process, of which the first tells when to end. It asks the daemon by its control socket as any
command does, once a second at most, however often and by whomever it is asked itself. So what its clients do reaches
neither the daemon nor a file: the worst is that this process is busy. It takes one request from a connection, of a
limited size, in a limited time; of too many connections the oldest is closed. By a port it answers only to names of
this machine: a page in a browser here could have its own name lead to the port, and read what is answered.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio
from trio.lowlevel import FdStream

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.metrics.text import CONTENT_TYPE, text
from ipfsfs.daemon.questions.metrics import Question
from ipfsfs.errors import IpfsfsError
from ipfsfs.plain import syscalls
from ipfsfs.workers.memory import bound_memory, end_by_signal

_CONNECTIONS: Final = 32
_REQUEST_MOST: Final = 8_192
_REQUEST_S: Final = 5.0
_FRESH_S: Final = 1.0
_ANSWER_S: Final = 5.0
_AGAIN_S: Final = 0.1
_MEMORY: Final = 200 << 20
"""Bytes of private memory beyond which the process ends."""
_DESCRIPTORS: Final = 256
_LOOPBACK: Final = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\.?(?::[0-9]{1,5})?", re.IGNORECASE)
"""A `Host` header that names this machine, whatever DNS says."""
_STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    503: "Service Unavailable",
}


@dataclass(slots=True, frozen=True)
class Page:
    """An answer. `body`: what it says."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"

    def encoded(self, *, head_only: bool) -> bytes:
        """As it is sent."""
        body = self.body.encode("utf-8", "replace")
        lines = [
            f"HTTP/1.1 {self.status} {_STATUS[self.status]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(["Allow: GET, HEAD"] if self.status == 405 else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head_only else body)


@dataclass(slots=True)
class Latest:
    """The metrics, as the daemon told them last; asked for again when they are older than a second."""

    store: Path
    _page: Page = field(default_factory=lambda: Page(503, "not asked yet\n"))
    _asked_at: float = -1e9
    _asking: trio.Lock = field(default_factory=trio.Lock)

    async def page(self) -> Page:
        """The page of now."""
        async with self._asking:
            if trio.current_time() - self._asked_at > _FRESH_S:
                self._page = await self._ask()
                self._asked_at = trio.current_time()
            return self._page

    async def _ask(self) -> Page:
        def question() -> str:
            return text(ask(self.store, Question(), patience_s=_ANSWER_S, in_all_s=_ANSWER_S).samples)

        try:
            return Page(200, await trio.to_thread.run_sync(question), CONTENT_TYPE)
        except IpfsfsError as error:
            return Page(503, f"{error}\n")


@dataclass(slots=True)
class Exporter:
    """Serves connections until cancelled."""

    latest: Latest
    answers_to_any_name: bool
    """Whether no name is asked after: no browser reaches a Unix socket."""
    _talks: deque[trio.CancelScope] = field(default_factory=deque)

    async def serve(self, listening: trio.socket.SocketType) -> None:
        """Take connections and answer each."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    connection, _ = await listening.accept()
                except OSError:  # out of descriptors, or they hung up already
                    await trio.sleep(_AGAIN_S)
                    continue
                scope = trio.CancelScope()
                self._talks.append(scope)
                if len(self._talks) > _CONNECTIONS:
                    self._talks.popleft().cancel()
                nursery.start_soon(self._talk, trio.SocketStream(connection), scope)

    async def _talk(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            with scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                async with stream:
                    with trio.fail_after(_REQUEST_S):
                        request = await _request(stream)
                    page = await self._answer(request)
                    with trio.fail_after(_REQUEST_S):
                        await stream.send_all(page.encoded(head_only=request.startswith(b"HEAD ")))
                        await stream.send_eof()
        finally:
            with suppress(ValueError):
                self._talks.remove(scope)

    async def _answer(self, request: bytes) -> Page:
        line = request.partition(b"\r\n")[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1.") or not request.endswith(b"\r\n\r\n"):
            return Page(400, "not a request\n")
        method, target, _ = line
        if not self.answers_to_any_name and not _is_for_this_machine(request):
            return Page(421, "metrics are served to this machine alone: ask for localhost or 127.0.0.1\n")
        if target.partition(b"?")[0] not in (b"/metrics", b"/"):
            return Page(404, "metrics are at /metrics\n")
        if method not in (b"GET", b"HEAD"):
            return Page(405, "metrics can be read only\n")
        return await self.latest.page()


def _is_for_this_machine(request: bytes) -> bool:
    """Whether a request names loopback in each `Host` header that it has; HTTP/1.0 needs none, and browsers send it."""
    for line in request.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"host" and _LOOPBACK.fullmatch(value.strip()) is None:
            return False
    return True


async def _request(stream: trio.SocketStream) -> bytes:
    """The head of a request, or what came instead of it."""
    data = b""
    while b"\r\n\r\n" not in data and len(data) <= _REQUEST_MOST:
        more = await stream.receive_some(4096)
        if not more:
            break
        data += more
    head, end, _ = data.partition(b"\r\n\r\n")
    return head + end


async def _main(listening: int, requests: int, store: Path) -> None:
    bound = socket.socket(fileno=listening)
    exporter = Exporter(Latest(store), answers_to_any_name=bound.family == socket.AF_UNIX)
    async with FdStream(requests) as ending, trio.open_nursery() as nursery:
        nursery.start_soon(exporter.serve, trio.socket.from_stdlib_socket(bound))
        while await ending.receive_some(4096):
            pass
        nursery.cancel_scope.cancel()


def main(arguments: list[str]) -> None:
    """Run the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    syscalls.signal_at_parents_end(signal.SIGKILL)
    bound_memory(end_by_signal, _MEMORY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    listening, requests, _, *store = arguments
    trio.run(_main, int(listening), int(requests), Path(os.fsdecode(store[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
