"""A real server process without a daemon, which a test tells what to offer, as the daemon does."""

from __future__ import annotations

import os
import select
import socket
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ipfsfs.store.extents import extent_name
from ipfsfs.store.seal import pack_leaf, root_of
from ipfsfs.workers import wire
from ipfsfs.workers.server.offer import NodesOffer, Offer, Place
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.start import Command, StartedProcess, start

TOKEN = "a token of the tests' own site"  # noqa: S105
MEBIBYTE = 1 << 20


def leaves_of(data: bytes, chunk: int = MEBIBYTE) -> bytes:
    """The packed leaves of a file that is cut every `chunk` bytes."""
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return b"".join(pack_leaf(len(part), sha256(part).digest()) for part in parts)


@dataclass(slots=True)
class ServedDirectory:
    """A server of what is in a directory. To be closed in the end."""

    at: Path
    settings: ServerSettings = field(default_factory=lambda: ServerSettings("0" * 32))
    host: str = "127.0.0.1"
    port: int = 0
    offered: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    """Frames that each process is told when it starts."""
    _listening: socket.socket | None = None
    _started: StartedProcess | None = None
    _fds: list[int] = field(default_factory=list)
    _decoder: wire.Decoder = field(default_factory=wire.Decoder)
    _totals: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("plain", "extents", "blocks"):
            (self.at / name).mkdir(parents=True, exist_ok=True)

    @property
    def plain(self) -> Path:
        return self.at / "plain"

    @property
    def address(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}"

    @property
    def process_id(self) -> int:
        assert self._started is not None
        return self._started.process.pid

    def start(self) -> None:
        """Begin to listen, have the process, and wait until it knows what is offered."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind((self.host, self.port))
        self._listening.listen(64)
        self.port = self._listening.getsockname()[1]
        told = os.memfd_create("server", os.MFD_CLOEXEC)
        os.write(told, self.settings.to_json())
        directories = [os.open(self.at / name, os.O_RDONLY | os.O_DIRECTORY) for name in ("extents", "blocks", "plain")]
        self._fds = [*directories, told]
        inherited = (self._listening.fileno(), *self._fds)
        self._decoder = wire.Decoder()
        self._started = start(Command("server", "ipfsfs.workers.server.program", inherited, (), b"/tmp"))
        for header, blob in self.offered:
            self._send(header, blob)
        self.wait_until(blobs=len({(h["root"], h["size"]) for h, _ in self.offered if h["do"] == "offer"}))

    def stop(self) -> None:
        """End the process, and listen no more."""
        assert self._started is not None
        assert self._listening is not None
        self._listening.close()
        os.close(self._started.requests)
        self._started.process.wait(5)
        for fd in (self._started.results, self._started.complaints, *self._fds):
            os.close(fd)
        self._started, self._fds = None, []

    def close(self) -> None:
        """Stop it, if it runs."""
        if self._started is not None:
            self.stop()

    def offer(
        self,
        name: str,
        data: bytes,
        *,
        public: bool = True,
        chunk: int = MEBIBYTE,
        place: Place = "plain",
        written: bool = True,
    ) -> bytes:
        """Write a file, unless it is not to be `written`, and offer it. Returns its root."""
        leaves = leaves_of(data, chunk)
        root = root_of(leaves)
        path = self.plain / name if place == "plain" else self.at / "extents" / extent_name(root, len(data))
        if written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        offer = Offer(
            root, len(data), sha256(data).digest(), public, leaves, place, name.encode() if place == "plain" else b""
        )
        self.tell(offer.header(), leaves)
        return root

    def offer_nodes(self, root: bytes, nodes: list[bytes], *, public: bool = True) -> None:
        """Offer nodes that lie among the blocks of the store."""
        offer = NodesOffer(root, b"".join(sha256(node).digest() for node in nodes), public)
        self.tell(offer.header(), offer.digests)

    def withdraw(self, root: bytes, size: int) -> None:
        """Offer a file no longer."""
        self.tell({"do": "withdraw", "root": root.hex(), "size": size}, b"")

    def tell(self, header: dict[str, Any], blob: bytes = b"") -> None:
        """Say something as the daemon, now and to each process that follows."""
        self.offered.append((header, blob))
        if self._started is not None:
            self._send(header, blob)

    def totals(self) -> dict[str, Any]:
        """What the process tells next; what it has told before is of an earlier moment."""
        assert self._started is not None
        while select.select([self._started.results], [], [], 0)[0]:
            self._receive()
        self._totals = {}
        self.wait_until()
        return self._totals

    def wait_until(self, **wanted: object) -> None:
        """Wait until the process tells this of itself."""
        assert self._started is not None
        deadline = time.monotonic() + 20
        while not self._totals or any(self._totals[name] != value for name, value in wanted.items()):
            left = deadline - time.monotonic()
            assert left > 0, f"the server tells {self._totals}, not {wanted}: {self.complaints()}"
            if select.select([self._started.results], [], [], left)[0]:
                self._receive()

    def _receive(self) -> None:
        assert self._started is not None
        data = os.read(self._started.results, 1 << 16)
        assert data, f"the server has ended: {self.complaints()}"
        for header, _ in self._decoder.feed(data):
            self._totals = header["totals"]

    def complaints(self) -> str:
        """What the process wrote to stderr, as far as it is there."""
        assert self._started is not None
        if not select.select([self._started.complaints], [], [], 0.2)[0]:
            return ""
        return os.read(self._started.complaints, 1 << 16).decode()

    def _send(self, header: dict[str, Any], blob: bytes) -> None:
        assert self._started is not None
        data = memoryview(wire.encode(header, blob))
        while data:
            data = data[os.write(self._started.requests, data) :]
