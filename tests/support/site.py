"""Machines of a site, without mounts: each a real server process, and a fetcher that speaks with all of them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import trio

from ipfsfs.exchange.load import BATCH
from ipfsfs.origins.dag import side_by_side
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.peer_messages import Announced
from ipfsfs.origins.settings import OriginSettings, SiteSettings
from ipfsfs.origins.signing import HEADER, Asked, Token
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.client import Arrived, Fetcher, open_fetcher
from ipfsfs.workers.fetcher.site_messages import PeerSource
from ipfsfs.workers.fetcher.table import LeafTable, table_of
from ipfsfs.workers.server.settings import ServerSettings
from tests.support.served import MEBIBYTE, ServedDirectory

TOKEN = "a token of the tests' own site"  # noqa: S105


@dataclass(slots=True)
class Machine:
    """One machine. `id`: by which it knows itself."""

    at: Path
    id: str
    port: int
    peers: str
    token: str = ""
    hub: str = ""
    server: ServedDirectory = field(init=False)

    def __post_init__(self) -> None:
        settings = ServerSettings(self.id, self.token, peers=self.peers, hub=self.hub or None, share="all")
        self.server = ServedDirectory(self.at, settings, port=self.port)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def name(self) -> str:
        """As what it counts that gives leaves."""
        return f"peer {self.address}"

    @asynccontextmanager
    async def fetcher(self, origins: Sequence[OriginSettings] = (), **changed: str) -> AsyncIterator[Fetcher]:
        """What this machine asks others with."""
        settings = SiteSettings(self.peers, changed.get("token", self.token), self.id, self.port, self.hub)
        fds = extents, blocks, plain = [os.open(self.at / name, os.O_RDONLY) for name in ("extents", "blocks", "plain")]
        try:
            async with open_fetcher(extents, blocks, plain, origins, settings) as fetcher:
                yield fetcher
        finally:
            for fd in fds:
                os.close(fd)

    def gave(self) -> int:
        """Bytes of blocks that its server has given."""
        time.sleep(1.2)  # it tells every second
        before = -1
        while (now := int(self.server.totals()["gave_bytes"])) != before:
            before = now
        return now

    async def asked_by_another(self, root: bytes) -> None:
        """Ask this machine whether it has a block, four times a second, as one at another address does; until
        cancelled."""
        target, host = f"/ipfs/{cid.to_text(root)}?format=raw", self.address
        async with await trio.open_tcp_stream("127.0.0.1", self.port, local_address="127.0.0.2") as stream:
            while True:
                signed = Token.of(self.token).sign(Asked("HEAD", target, host, only_if_cached=True), time.time()).value
                headers = f"Host: {host}\r\nCache-Control: only-if-cached\r\n{HEADER}: {signed}"
                await stream.send_all(f"HEAD {target} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
                await trio.sleep(0.25)

    async def load(
        self, fetcher: Fetcher, source: PeerSource, data: bytes, on_hub: Sequence[HubFile] = ()
    ) -> list[Arrived]:
        """Have all leaves of a file, as a view does: 8 at a time, four times beside each other."""
        table = cut(data)
        name = f"{sha256(data).hexdigest()}-{len(list((self.at / 'extents').iterdir()))}"
        extent = self.at / "extents" / name
        extent.touch()
        arrived: list[Arrived] = []
        parts = [list(range(first, min(first + BATCH, len(table)))) for first in range(0, len(table), BATCH)]

        async def work() -> None:
            while parts:
                part = parts.pop(0)
                async with fetcher.leaves(name, table.part(part), [None] * len(part), on_hub, source) as arriving:
                    arrived.extend([leaf async for leaf in arriving])

        await side_by_side([(work,)] * 4)
        assert extent.read_bytes() == data
        return arrived


def cut(data: bytes, chunk: int = MEBIBYTE) -> LeafTable:
    """The leaves of a file."""
    parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    return table_of((len(part), sha256(part).digest()) for part in parts)


def blob(root: bytes, data: bytes, *, public: bool = True) -> Announced:
    """A file as it is announced."""
    return Announced(sha256(data).digest(), root, len(data), public)


def machines(at: Path, count: int, token: str = TOKEN, hub: str = "", others: Sequence[int] = ()) -> list[Machine]:
    """So many machines that know each other, none of them started. `others`: ports of more peers, on loopback too."""
    ports = [free_port() for _ in range(count)]
    peers = ",".join(f"127.0.0.1:{port}" for port in [*ports, *others])
    return [Machine(at / str(number), f"{number:032x}", port, peers, token, hub) for number, port in enumerate(ports)]


@contextmanager
def running(site: list[Machine]) -> Iterator[list[Machine]]:
    """The servers of machines serve while the block runs."""
    try:
        for machine in site:
            machine.server.start()
        yield site
    finally:
        for machine in site:
            machine.server.close()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
