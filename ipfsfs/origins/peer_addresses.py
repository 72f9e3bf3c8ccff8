"""At which addresses the machines of a list are: how they are known where no signature says who asks."""

from __future__ import annotations

import ipaddress
import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.origins.peer_list import HostPort

_AGAIN_S: Final = 30.0
_WITHIN_S: Final = 2.0
_AT_ONCE: Final = 16


@dataclass(slots=True)
class PeerAddresses:
    """The addresses that were found last."""

    _ports: dict[str, set[int]] = field(default_factory=dict)
    _of: Sequence[HostPort] = ()
    _at: float = -math.inf

    def has(self, host: str, port: int | None = None) -> bool:
        """Whether a machine of the list is at an address; at this port, or at any."""
        ports = self._ports.get(host, ())
        return bool(ports) if port is None else port in ports

    async def look(self, listed: Sequence[HostPort]) -> None:
        """Find out the addresses of a list, unless that was done of late."""
        if listed == self._of and trio.current_time() < self._at + _AGAIN_S:
            return
        found: dict[str, set[int]] = {}
        width = trio.CapacityLimiter(_AT_ONCE)

        async def add(at: HostPort) -> None:
            async with width:
                for address in await _addresses(at):
                    found.setdefault(address, set()).add(at.port)

        async with trio.open_nursery() as nursery:
            for at in listed:
                nursery.start_soon(add, at)
        self._ports, self._of, self._at = found, listed, trio.current_time()


async def _addresses(at: HostPort) -> list[str]:
    try:
        ipaddress.ip_address(at.host.partition("%")[0])
    except ValueError:
        pass
    else:
        return [at.host]
    with trio.move_on_after(_WITHIN_S):
        try:
            found = await trio.socket.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM)
        except OSError:
            return []
        return [str(entry[4][0]) for entry in found]
    return []
