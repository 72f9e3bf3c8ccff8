"""Whether a request was sent to this machine: what its `Host` header names is where its connection ended.

Else a machine without the token, to which a list or a name service leads by mistake, could hand on to this one what
others of the site signed for it, and have the answers (H52).
"""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import UsageError
from ipfsfs.origins.peer_list import HostPort, host_port

_RESOLVE_S: Final = 3.0
_HOLDS_S: Final = 60.0
_NAMES_MOST: Final = 64
_HTTP_PORT: Final = 80
"""What is left out of a `Host` header."""


@dataclass(slots=True)
class OwnAddress:
    """Compares what requests name with where they came; asks the name service where they name a name. Remembers what
    that said for a minute."""

    hostname: str = field(default_factory=socket.gethostname)
    _names: OrderedDict[str, tuple[float, frozenset[str]]] = field(default_factory=OrderedDict)
    _resolving: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4))

    async def is_meant(self, host: str, local: HostPort) -> bool:
        """Whether a `Host` header names the address that a connection was made to. Who is not known to be of the site
        is not to reach this: it may wait for the name service."""
        try:
            named = host_port(host)
        except UsageError:
            if local.port != _HTTP_PORT:
                return False
            try:
                named = host_port(f"{host}:{_HTTP_PORT}")
            except UsageError:
                return False
        if named.port != local.port:
            return False
        address = _plain(local.host)
        if (literal := _literal(named.host)) is not None:
            return literal == address
        if named.host == self.hostname.lower():
            return True
        found = await self._addresses(named.host)
        # Machines often have their own name, and no other one, at loopback (127.0.1.1).
        return address in found or (named.host != "localhost" and any(map(_is_loopback, found)))

    async def _addresses(self, name: str) -> frozenset[str]:
        """What the name service says of a name; nothing where it does not answer."""
        now = trio.current_time()
        until, found = self._names.get(name, (0.0, frozenset[str]()))
        if now < until:
            return found
        with trio.move_on_after(_RESOLVE_S):
            try:
                async with self._resolving:
                    entries = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            except OSError:
                return frozenset()
            found = frozenset(_plain(str(entry[4][0])) for entry in entries)
            self._names[name] = now + _HOLDS_S, found
            if len(self._names) > _NAMES_MOST:
                self._names.popitem(last=False)
            return found
        return frozenset()


def _literal(host: str) -> str | None:
    """An address in its one form; None for a name."""
    try:
        return _plain(str(ipaddress.ip_address(host)))
    except ValueError:
        return None


def _plain(host: str) -> str:
    """An address in its one form, without an interface, and as of IPv4 where it is one."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(address if mapped is None else mapped)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
