"""The server: the process that gives other machines what may be given of the files that are here, by HTTP.

Started as `python -m ipfsfs.workers.server.program LISTENING EXTENTS BLOCKS PLAIN SETTINGS REQUESTS RESULTS`: a socket
that listens, the directories of extents and of blocks, the plain root, a file with settings in JSON, and the two pipes.
It writes to no file. By the first pipe it hears what is offered; it ends when that does. By the second it tells what it
has given, every second or two, which is its sign of life, too.
"""

from __future__ import annotations

import ipaddress
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Final

import trio
from trio.lowlevel import FdStream

from ipfsfs.errors import FormatError
from ipfsfs.plain import syscalls
from ipfsfs.workers import wire
from ipfsfs.workers.memory import bound_memory, end_by_signal
from ipfsfs.workers.server.admission import Admission
from ipfsfs.workers.server.blocks import HereBlocks
from ipfsfs.workers.server.catalog import Catalog
from ipfsfs.workers.server.doors import CONNECTIONS, Doors
from ipfsfs.workers.server.gateway import Gateway
from ipfsfs.workers.server.offer import NodesOffer, Offer
from ipfsfs.workers.server.parts import Parts, parts
from ipfsfs.workers.server.service import Service
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.server.totals import Totals
from ipfsfs.workers.wire import Header

_READ: Final = 1 << 18
_TOLD_S: Final = 1.0
_SOON_S: Final = 0.1
_MEMORY: Final = 1 << 30
"""Bytes of private memory beyond which the process ends: the tables of 10 TB, and what is relayed and sent."""
_DESCRIPTORS: Final = 2 * CONNECTIONS + 256
_SETTINGS_MOST: Final = 1 << 20


@dataclass(slots=True)
class Program:
    """What the daemon says, and what it is told."""

    catalog: Catalog
    parts: Parts
    totals: Totals
    results: FdStream
    _counted: trio.Event = field(default_factory=trio.Event)

    async def obey(self, requests: FdStream) -> None:
        """Take what the daemon says until its pipe ends. One frame after the other: a pipe that is full tells it to
        wait."""
        decoder = wire.Decoder()
        while data := await requests.receive_some(_READ):
            for header, blob in decoder.feed(data):
                await self._take(header, blob)

    async def _take(self, header: Header, blob: bytes) -> None:
        match header["do"]:
            case "sign":
                pass  # it is given every second
            case "offer":
                offer = Offer.of(header, blob)
                try:
                    await self.catalog.add(offer)
                except FormatError as error:
                    print(error, file=sys.stderr)
                self._count()
            case "withdraw":
                self.catalog.withdraw(bytes.fromhex(header["root"]), header["size"])
                self._count()
            case "offer nodes":
                self.catalog.add_nodes(NodesOffer.of(header, blob))
            case "withdraw nodes":
                self.catalog.withdraw_nodes(bytes.fromhex(header["root"]))
            case _:
                self.parts.endpoints.told(header, blob)

    def _count(self) -> None:
        self.totals.blobs = self.catalog.count
        self.totals.blob_bytes = self.catalog.total
        self._counted.set()

    async def tell(self) -> None:
        """Tell the daemon what is offered, when that changes, and what was given, until cancelled."""
        while True:
            self._counted = trio.Event()
            await self.results.send_all(wire.encode({"totals": asdict(self.totals)}))
            await trio.sleep(_SOON_S)
            with trio.move_on_after(_TOLD_S):
                await self._counted.wait()


async def _main(listening: int, extents: int, blocks: int, plain: int, told: int, requests: int, results: int) -> None:
    settings = ServerSettings.from_json(os.pread(told, _SETTINGS_MOST, 0))
    bound = socket.socket(fileno=listening)
    totals = Totals()
    chosen = parts(settings, totals)
    catalog = Catalog()
    here = HereBlocks.of(catalog, blocks, plain, extents)
    admission = Admission.of(settings.key, is_open=settings.open, is_loopback=_is_loopback(bound))
    service = Service(admission, Gateway(here, chosen.relay, totals), chosen.endpoints, totals)
    async with FdStream(requests) as receiving, FdStream(results) as sending, trio.open_nursery() as nursery:
        program = Program(catalog, chosen, totals, sending)
        nursery.start_soon(Doors(service, totals).serve, trio.socket.from_stdlib_socket(bound))
        nursery.start_soon(chosen.endpoints.run)
        nursery.start_soon(program.tell)
        with suppress(trio.BrokenResourceError):
            await program.obey(receiving)
        nursery.cancel_scope.cancel()


def _is_loopback(bound: socket.socket) -> bool:
    try:
        return ipaddress.ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def main(arguments: list[str]) -> None:
    """Run the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    syscalls.signal_at_parents_end(signal.SIGKILL)
    bound_memory(end_by_signal, _MEMORY)
    _, hardest = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hardest == resource.RLIM_INFINITY else min(_DESCRIPTORS, hardest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    listening, extents, blocks, plain, told, requests, results = (int(number) for number in arguments)
    trio.run(_main, listening, extents, blocks, plain, told, requests, results)


if __name__ == "__main__":
    main(sys.argv[1:])
