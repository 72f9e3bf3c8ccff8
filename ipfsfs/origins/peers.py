"""The machines of a site, as they are now: a list that was given, all addresses of a name, or what a file says.

A name is asked again every 30 s, a file is read again when it changes; while that fails the last list stands. Clients
are made once for each machine, those of the list and those that were announced as holders.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from ipfsfs.errors import FormatError, OriginError, UsageError
from ipfsfs.origins import peer_list
from ipfsfs.origins.peer import Peer
from ipfsfs.origins.peer_addresses import PeerAddresses
from ipfsfs.origins.peer_list import PEERS_MOST, HostPort, PeerList
from ipfsfs.origins.settings import SiteSettings
from ipfsfs.origins.signing import Token

_NAME_AGAIN_S: Final = 30.0
_AGAIN_S: Final = 1.0
"""How often it is looked whether a file has changed, and a name asked that has no addresses."""
_FILE_MOST: Final = 1 << 20
_RESOLVE_S: Final = 5.0
_CLIENTS_MOST: Final = 2 * PEERS_MOST
_KEPT_MOST: Final = 64
"""Machines that connections are kept to: those asked last."""
_TIDY_S: Final = 10.0

_Version = tuple[int, int, int]


@dataclass(slots=True, eq=False)
class Peers:
    """`trouble`: why the list could not be had the last time; empty where it could. Raises UsageError where the
    settings make no sense."""

    settings: SiteSettings
    trouble: str = ""
    token: Token | None = field(init=False, repr=False)
    _list: PeerList = field(init=False)
    _now: tuple[HostPort, ...] = ()
    _version: _Version | None = None
    _known: trio.Event = field(default_factory=trio.Event)
    """Set once the list was looked for."""
    addresses: PeerAddresses = field(default_factory=PeerAddresses)
    """Of all that are listed; known only where there is no token."""
    _clients: dict[HostPort, Peer] = field(default_factory=dict)
    _tidied_at: float = 0.0

    def __post_init__(self) -> None:
        self.token = Token.of(self.settings.token) if self.settings.token else None
        self._list = peer_list.parse(self.settings.peers) if self.settings.peers else PeerList()
        self._now = self._list.listed
        if self._list.dns is None and self._list.file is None:
            self._known.set()

    async def run(self) -> None:
        """Keep the list what it is now, and connections few; until cancelled. To be running where there are peers."""
        while True:
            await self._look()
            if self.token is None:
                await self.addresses.look(self._now)
            self._known.set()
            await self.tidy()
            is_name = self._list.dns is not None
            await trio.sleep(_NAME_AGAIN_S if is_name and not self.trouble else _AGAIN_S)

    async def listed(self) -> Sequence[HostPort]:
        """The machines of the list, this one too where it names it. Empty where they could not be found out. Waits only
        before that was tried once."""
        await self._known.wait()
        return self._now

    async def clients(self) -> list[Peer]:
        """Of all machines of the list."""
        return [self.peer(at) for at in await self.listed()]

    def peer(self, at: HostPort) -> Peer:
        """The client of a machine."""
        found = self._clients.pop(at, None) or Peer(at, self.token)
        self._clients[at] = found  # the last one is the one asked last
        return found

    def holder(self, name: str) -> Peer:
        """The client of a machine that is named as HOST:PORT. Raises FormatError."""
        try:
            return self.peer(peer_list.host_port(name))
        except UsageError as error:
            raise FormatError(str(error)) from error

    @property
    def known(self) -> Sequence[Peer]:
        """All that were asked, those that are in no list too."""
        return list(self._clients.values())

    async def tidy(self) -> None:
        """Close connections to machines that were not asked of late."""
        if trio.current_time() < self._tidied_at + _TIDY_S:
            return
        self._tidied_at = trio.current_time()
        known = list(self._clients.items())
        for _, peer in known[:-_KEPT_MOST]:
            await peer.aclose()
        for at, peer in known[: max(0, len(known) - _CLIENTS_MOST)]:
            if not peer.standing.rate.asking:
                self._clients.pop(at, None)

    async def digest(self) -> str:
        """What tells this list from other lists, 16 hex digits."""
        text = "\n".join(sorted(map(str, await self.listed())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        for peer in self.known:
            await peer.aclose()

    async def _look(self) -> None:
        try:
            if self._list.dns is not None:
                self._now = await _resolved(self._list.dns)
            elif self._list.file is not None:
                await self._read(self._list.file)
            self.trouble = ""
        except (OriginError, UsageError) as error:
            self.trouble = str(error)

    async def _read(self, file: Path) -> None:
        read = await trio.to_thread.run_sync(_read_changed, file, self._version, abandon_on_cancel=True)
        if read is not None:
            text, version = read
            self._now = peer_list.listed(text)
            self._version = version


async def _resolved(name: HostPort) -> tuple[HostPort, ...]:
    """All addresses of a name. Raises OriginError."""
    with trio.move_on_after(_RESOLVE_S):
        try:
            found = await trio.socket.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OriginError(f"dns:{name} has no addresses: {error.strerror or error}") from error
        # A machine that has addresses of both families is in the list once.
        of_4 = {str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET}
        addresses = sorted(of_4 or {str(entry[4][0]) for entry in found})
        return tuple(HostPort(address, name.port) for address in addresses[:PEERS_MOST])
    raise OriginError(f"dns:{name}: the name service does not answer within {_RESOLVE_S:g} s")


def _read_changed(file: Path, before: _Version | None) -> tuple[str, _Version] | None:
    """The text of a list, without its comments, if it changed. Waits for the disk. Raises UsageError."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
            version = found.st_mtime_ns, found.st_ino, found.st_size
            if version == before:
                return None
            text = os.read(fd, _FILE_MOST).decode()
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise UsageError(f"the list of peers in {file} cannot be read: {error}") from error
    return "\n".join(line.partition("#")[0] for line in text.splitlines()), version
