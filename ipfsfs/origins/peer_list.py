"""Which machines share content with this one, as a user names them: a list, a DNS name, or a file with a list.

    10.0.0.1:4780,node2:4780        host names or addresses, each with a port; IPv6 as [fd00::1]:4780; in fstab with `;`
    dns:ipfsfs.example:4780         all addresses that the name has, such as a headless service's
    /etc/ipfsfs/peers               a file: one HOST:PORT a line, or several with commas; `#` begins a comment

Nothing is resolved or read here: `parse` only says whether the text makes sense.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ipfsfs.errors import UsageError

PEERS_MOST: Final = 4_096
"""In one list."""
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_ADDRESS_6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,16})?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HINT: Final = "Write HOST:PORT,HOST:PORT or dns:NAME:PORT, or the absolute path of a file with one HOST:PORT a line."


class HostPort(NamedTuple):
    """Where a machine listens: a name or an address, and a TCP port. IPv6 addresses are without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(slots=True, frozen=True)
class PeerList:
    """What was named. Exactly one of the three says something."""

    listed: tuple[HostPort, ...] = ()
    dns: HostPort | None = None
    file: Path | None = None


def parse(text: str) -> PeerList:
    """What `--peers` names. Raises UsageError."""
    if text.startswith("dns:"):
        return PeerList(dns=host_port(text.removeprefix("dns:"), hint=_HINT))
    if text.startswith("/"):
        if "\0" in text:
            raise UsageError("no path of a list of peers", hint=_HINT)
        return PeerList(file=Path(os.path.normpath(text)))
    return PeerList(listed=listed(text))


def listed(text: str) -> tuple[HostPort, ...]:
    """The machines of a list, each once. Raises UsageError for an entry that is none, and for too many."""
    found = dict.fromkeys(host_port(entry.strip(), hint=_HINT) for entry in re.split(r"[,;\s]+", text.strip()) if entry)
    if not found:
        raise UsageError("the list of peers is empty", hint=_HINT)
    if len(found) > PEERS_MOST:
        raise UsageError(f"the list of peers has more than {PEERS_MOST:,} entries", hint="Use dns:NAME:PORT.")
    return tuple(found)


def host_port(text: str, *, hint: str = "Write for example 10.0.0.1:4780.") -> HostPort:
    """One machine. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        is_host = _ADDRESS_6.fullmatch(host) is not None
    else:
        is_host = _HOST.fullmatch(host) is not None
    if not colon or not is_host or not _PORT.fullmatch(port) or not 0 < int(port) < 1 << 16:
        raise UsageError(f"{text[:100]!r} is no HOST:PORT", hint=hint)
    return HostPort(host.lower(), int(port))
