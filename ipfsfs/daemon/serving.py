"""Where this machine serves others: the address, taken before anything is mounted, and who may be served at it."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from typing import Any, Final

from ipfsfs.daemon.config import Config, SiteConfig
from ipfsfs.errors import MountError, UsageError
from ipfsfs.origins.peer_list import HostPort, host_port
from ipfsfs.store.layout import Store
from ipfsfs.view.view import Others
from ipfsfs.workers.server.client import Server, open_server
from ipfsfs.workers.server.settings import ServerSettings

_BACKLOG: Final = 256
_SocketAddress = tuple[Any, ...]
_ADVICE: Final = (
    "Give all machines of the site one token: head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE\n"
    "  and mount with --token-file FILE."
)
_UNSAID: Final = (
    _ADVICE + " Or let anyone have what is public: --open.\n  Or serve this machine alone: --serve 127.0.0.1:{port}"
)


@dataclass(slots=True)
class Address:
    """The address that a view serves others at, where it does. To be closed in the end, which may be done twice."""

    config: Config
    machine: str
    """By which this machine knows itself: 32 hex digits, drawn at the daemon's start."""
    _listening: socket.socket | None = None
    _server: Server | None = None

    @classmethod
    def take(cls, config: Config) -> Address:
        """Listen, if anything is to be served. Raises UsageError where the address would be open to anyone though
        nobody said so; MountError where it cannot be had."""
        site, machine = config.site, secrets.token_hex(16)
        if site.serve is None:
            return cls(config, machine)
        at = host_port(site.serve)
        if site.share == "all" and not site.token():
            raise UsageError(
                "--share all gives nobody more than --share public: what is not public goes to requests that are "
                "signed with the site's token, and there is none",
                hint=_ADVICE,
            )
        family, address = _resolved(at, site.serve)
        is_loopback = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        if not site.token() and not site.open and not is_loopback:
            raise UsageError(
                f"content cannot be served at {site.serve} as it is: other machines reach it, and nothing says which "
                "of them may have what",
                hint=_UNSAID.format(port=at.port),
            )
        listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise MountError(f"content cannot be served at {site.serve}: {_why(error)}", hint=_hint(error)) from error
        return cls(config, machine, listening)

    def server(self, store: Store, plain_fd: int) -> Server | None:
        """The server at this address; None where nothing is served."""
        if self._listening is None:
            return None
        listening, self._listening = self._listening, None
        config, site = self.config, self.config.site
        settings = ServerSettings(
            id=self.machine,
            token=site.token(),
            open=site.open,
            share=site.share,
            peers=site.peers,
            hub=None if config.hub is None else config.hub.url,
        )
        self._server = open_server(settings, listening, store.extents_fd, store.blocks_fd, plain_fd)
        return self._server

    async def run(self) -> None:
        """Have the server, if there is one, until cancelled; then the address is free. To be run in the main thread."""
        if self._server is not None:
            await self._server.run()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        if self._listening is not None:
            self._listening.close()
            self._listening = None


def others_of(site: SiteConfig, *, is_read_only: bool) -> Others | None:
    """How a machine shares with others, if it asks any."""
    if site.peers is None:
        return None
    announces = site.serve is not None and site.share != "published"
    return Others(announces, site.share == "public", site.trusts_peers, is_read_only)


def _resolved(at: HostPort, text: str) -> tuple[socket.AddressFamily, _SocketAddress]:
    """The first address of a name. Raises MountError."""
    try:
        found = socket.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise MountError(
            f"content cannot be served at {text}: no address of {at.host} is known", hint=_hint(error)
        ) from error
    family, _, _, _, address = found[0]
    return family, address


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there"
        case errno.EADDRNOTAVAIL:
            return "it is no address of this machine"
        case errno.EACCES:
            return "only root may listen at this port"
    return error.strerror or str(error)


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "Choose another port, or see who does: ss -ltnp"
    if error.errno == errno.EACCES:
        return "Choose a port of 1024 or more."
    return "Name an address of this machine, or 0.0.0.0:PORT for all it has (`ip address` shows them)."
