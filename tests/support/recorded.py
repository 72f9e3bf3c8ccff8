"""Servers with a record of all that is sent to them: a relay stands before each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final
from urllib.parse import urlsplit

_PIECE: Final = 1 << 16


@dataclass(slots=True)
class Recorded:
    """A server, by the `url` of its relay. `sent`: the bytes that clients sent, connection by connection."""

    url: str
    sent: list[bytearray] = field(default_factory=list)

    def got(self, canary: bytes) -> bool:
        """Whether a canary was sent to it, in a request's line, headers or body."""
        return any(canary in one for one in self.sent)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100


@contextmanager
def recorded(url: str) -> Iterator[Recorded]:
    """Everything that is sent to the server at a URL by way of the relay, for the length of the block."""
    at = urlsplit(url)
    found = Recorded("")

    class Relay(BaseRequestHandler):
        def handle(self) -> None:
            heard = bytearray()
            found.sent.append(heard)
            with suppress(OSError), socket.create_connection((at.hostname, at.port or 80)) as server:
                back = threading.Thread(target=_pass, args=(server, self.request, bytearray()), daemon=True)
                back.start()
                _pass(self.request, server, heard)
                back.join()

    with _Server(("127.0.0.1", 0), Relay) as relay:
        found.url = f"http://127.0.0.1:{relay.server_address[1]}"
        serving = threading.Thread(target=relay.serve_forever, daemon=True)
        serving.start()
        try:
            yield found
        finally:
            relay.shutdown()
            serving.join()


def _pass(source: socket.socket, target: socket.socket, heard: bytearray) -> None:
    """Pass on what comes until it ends."""
    with suppress(OSError):
        while data := source.recv(_PIECE):
            heard += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
