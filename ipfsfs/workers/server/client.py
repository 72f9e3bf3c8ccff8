"""The server as the daemon sees it: what it is told to give, and what it has given."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import FormatError
from ipfsfs.workers import wire
from ipfsfs.workers.process import Process
from ipfsfs.workers.server.offer import NodesOffer, Offer
from ipfsfs.workers.server.settings import ServerSettings
from ipfsfs.workers.server.totals import Given, Totals
from ipfsfs.workers.start import Command
from ipfsfs.workers.wire import Header

_MODULE: Final = "ipfsfs.workers.server.program"
_SILENT_S: Final = 20.0
"""A server that says nothing for so long hangs: it does every second."""
_OUTBOX_MOST: Final = 8 << 20
"""Bytes that wait for the process, before who offers waits as well."""


@dataclass(slots=True, eq=False)
class ServerTalk:
    """The `Talk` of the server: there is always work."""

    totals: Totals = field(default_factory=Totals)
    starts: int = 0
    """How many processes there have been: each knows nothing of what the ones before it were told."""
    outbox: deque[bytes] = field(default_factory=deque)
    size: int = 0
    changed: trio.Event = field(default_factory=trio.Event)
    """Set when something of this has changed."""

    async def wait_for_work(self) -> None:
        """As `Talk`."""
        self.starts += 1
        self.wake()

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        while not self.outbox:
            await self.changed.wait()
        frame = self.outbox.popleft()
        self.size -= len(frame)
        self.wake()
        return frame

    def post(self, frame: bytes) -> None:
        """Have a frame sent. Never waits."""
        self.outbox.append(frame)
        self.size += len(frame)
        self.wake()

    def wake(self) -> None:
        """Have those who wait look again."""
        self.changed.set()
        self.changed = trio.Event()

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        if "totals" not in header:
            raise FormatError("the server said something else than what it has given")
        told = header["totals"]
        by_peer = {str(host): Given(**given) for host, given in told.pop("by_peer").items()}
        self.totals = Totals(**told)
        self.totals.by_peer.update(by_peer)

    @property
    def silent_s(self) -> float:
        """As `Talk`."""
        return _SILENT_S

    @property
    def waits_for_us(self) -> bool:
        """As `Talk`: it never does."""
        return False

    def ask_for_a_sign(self) -> None:
        """As `Talk`: it gives one every second."""

    def lose(self, why: str) -> None:
        """As `Talk`."""
        self.outbox.clear()
        self.size = 0
        self.wake()


@dataclass(slots=True)
class Server:
    """Offers to other machines. What a process was offered goes with it: whoever offers follows `starts`, and offers
    all of it again."""

    _process: Process
    _talk: ServerTalk
    settings: ServerSettings
    _listening: socket.socket
    _told: int
    port: int
    """Where it listens; by it other machines know this one, at the address that they see."""

    @property
    def pid(self) -> int | None:
        """The process, if one is running."""
        return self._process.pid

    @property
    def state(self) -> str:
        """In words for `status`; empty while all is well."""
        return self._process.state

    @property
    def totals(self) -> Totals:
        """What the process has and has given since it began, as it told last."""
        return self._talk.totals

    @property
    def served(self) -> Mapping[str, Given]:
        """What it has given, by the address it went to."""
        return self._talk.totals.by_peer

    @property
    def starts(self) -> int:
        """How many processes there have been."""
        return self._talk.starts

    async def started(self, after: int) -> int:
        """Wait until `starts` is more than `after`; returns it."""
        while self._talk.starts <= after:
            await self._talk.changed.wait()
        return self._talk.starts

    async def offer(self, offer: Offer) -> None:
        """Have a file offered, in the place of an offer of the same root and size. Waits while much is on its way."""
        await self._room()
        self._talk.post(wire.encode(offer.header(), offer.leaves))

    def withdraw(self, root: bytes, size: int) -> None:
        """Have a file offered no longer."""
        self._talk.post(wire.encode({"do": "withdraw", "root": root.hex(), "size": size}))

    async def offer_nodes(self, offer: NodesOffer) -> None:
        """Have the nodes of a published tree offered, which are in the store's directory of blocks."""
        await self._room()
        self._talk.post(wire.encode(offer.header(), offer.digests))

    def withdraw_nodes(self, root: bytes) -> None:
        """Have the nodes of a tree offered no longer."""
        self._talk.post(wire.encode({"do": "withdraw nodes", "root": root.hex()}))

    def tell(self, header: Header, blob: bytes = b"") -> None:
        """Tell the endpoints something (`Endpoints.told`): `header["do"]` names it."""
        self._talk.post(wire.encode(header, blob))

    async def _room(self) -> None:
        while self._talk.size > _OUTBOX_MOST:
            await self._talk.changed.wait()

    async def run(self) -> None:
        """Have the process, whatever becomes of it, until cancelled; then the address is free. To be run in the main
        thread: the process dies with the thread that started it."""
        try:
            await self._process.run()
        finally:
            self.close()

    def close(self) -> None:
        """Listen no more. May be done twice."""
        self._listening.close()
        if self._told >= 0:
            os.close(self._told)
            self._told = -1


def open_server(
    settings: ServerSettings, listening: socket.socket, extents_fd: int, blocks_fd: int, plain_fd: int
) -> Server:
    """A server at a socket that listens, which is its own from now on. Its process is started by `Server.run`."""
    # By a file in memory: arguments of a process can be read by every user of the machine.
    told = os.memfd_create("server", os.MFD_CLOEXEC)
    os.write(told, settings.to_json())
    talk = ServerTalk()
    inherited = (listening.fileno(), extents_fd, blocks_fd, plain_fd, told)
    process = Process(Command("server", _MODULE, inherited, (), b"/"), talk)
    return Server(process, talk, settings, listening, told, listening.getsockname()[1])
