"""The connections of the server: how many there are, in all and from one address.

Where all places are taken, the one goes that has been without a request for longest; what is answered at the moment is
never cut off for another.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.origins.peer_list import HostPort
from ipfsfs.workers.server.caller import Ends
from ipfsfs.workers.server.connection import Connection
from ipfsfs.workers.server.service import Service
from ipfsfs.workers.server.totals import Totals

CONNECTIONS: Final = 512
BY_ADDRESS: Final = 128
_AGAIN_S: Final = 0.1
_MAPPED: Final = "::ffff:"
_FULL: Final = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Doors:
    """Takes connections until cancelled."""

    service: Service
    totals: Totals
    _open: dict[Connection, trio.CancelScope] = field(default_factory=dict)
    _by_host: Counter[str] = field(default_factory=Counter)

    async def serve(self, listening: trio.socket.SocketType) -> None:
        """Take connections, and serve each."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    taken, address = await listening.accept()
                    here = taken.getsockname()
                except OSError:  # out of descriptors, or they hung up already
                    await trio.sleep(_AGAIN_S)
                    continue
                host = str(address[0]).removeprefix(_MAPPED)
                if self._by_host[host] >= BY_ADDRESS or not self._has_room():
                    self.totals.busy += 1
                    with suppress(OSError):
                        await _refuse(taken)
                    continue
                ends = Ends(host, HostPort(str(here[0]).removeprefix(_MAPPED), int(here[1])))
                connection = Connection(trio.SocketStream(taken), ends, self.service)
                scope = self._open[connection] = trio.CancelScope()
                self._by_host[host] += 1
                self.totals.connections = len(self._open)
                nursery.start_soon(self._talk, connection, scope)

    def _has_room(self) -> bool:
        """Whether there is a place, be it that of a connection which goes for that."""
        if len(self._open) < CONNECTIONS:
            return True
        idle = [connection for connection in self._open if connection.is_idle]
        if not idle:
            return False
        self._leave(min(idle, key=lambda connection: connection.since)).cancel()
        return True

    async def _talk(self, connection: Connection, scope: trio.CancelScope) -> None:
        try:
            with scope:
                async with connection.stream:
                    await connection.serve()
        finally:
            if connection in self._open:
                self._leave(connection)

    def _leave(self, connection: Connection) -> trio.CancelScope:
        """A connection has no place any more."""
        scope = self._open.pop(connection)
        host = connection.ends.host
        self._by_host[host] -= 1
        if not self._by_host[host]:
            del self._by_host[host]
        self.totals.connections = len(self._open)
        return scope


async def _refuse(taken: trio.socket.SocketType) -> None:
    """Say that there is no place, and close. Never waits for the client."""
    try:
        with trio.move_on_after(_AGAIN_S):
            await taken.send(_FULL)
    finally:
        taken.close()
