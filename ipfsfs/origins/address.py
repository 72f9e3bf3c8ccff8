"""Addresses of origins: strict, and without credentials, so that they can be shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from ipfsfs.errors import UsageError

_PORTS: Final = {"http": 80, "https": 443}
_SOCKETS: Final = ("unix", "http+unix")
_EXAMPLES: Final = "Addresses look like http://127.0.0.1:5001, https://gateway.example or unix:///run/ipfs/api.sock."
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_PATH: Final = re.compile(r"[A-Za-z0-9._~/-]*")
_NO_PORT: Final = re.compile(r"^((?:[^/]*//)?(?:\[[^\]]*\]|[^/:\[]*)):(?!//|[0-9]{1,5}(?:/|\?\.\.\.|$))[^/]*")
"""What stands where a port should, and is none."""
_LONGEST_SOCKET: Final = 107
"""Bytes of a path that fit into a `sockaddr_un`."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. `socket`: path of a Unix socket, which host and port then do not matter to.

    `prefix`: path before that of every request, without a slash at its end. `shown`: the address as users know it.
    `connect`: the IP address that the host has, where it is not to be looked up.
    """

    scheme: str
    host: str
    port: int
    shown: str
    prefix: str = ""
    socket: str = ""
    connect: str = ""

    @property
    def authority(self) -> str:
        """What stands in the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Address:
    """The address that a user wrote. Raises UsageError, which says what is wrong and repeats no credentials."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _refused(url, "has characters that no URL has")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refused(url, "is no URL") from None
    try:
        port = parts.port
    except ValueError:
        raise _refused(url, "has a port that is no number up to 65535") from None
    if "@" in parts.netloc:
        raise UsageError(
            f"the address of an origin holds credentials: {_without_secrets(url)[:_SHOWN]}",
            hint="Give them separately: an address is shown in status, logs and errors.",
        )
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise _refused(url, "has a query or a fragment")
    if parts.scheme in _SOCKETS:
        return _socket(url, parts)
    if parts.scheme not in _PORTS:
        raise _refused(url, f"begins with {parts.scheme}:" if parts.scheme else "has no scheme")
    return _host(url, parts, port)


def _socket(url: str, parts: SplitResult) -> Address:
    if parts.netloc:
        raise _refused(url, "has a host before the path of its socket (three slashes are needed)")
    path = unquote(parts.path)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise _refused(url, "names no socket by an absolute path")
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise _refused(url, f"has a path longer than {_LONGEST_SOCKET} bytes, which no socket can have")
    return Address("http", "localhost", _PORTS["http"], f"unix://{parts.path}", socket=path)


def _host(url: str, parts: SplitResult, port: int | None) -> Address:
    host = parts.hostname or ""
    if not HOST.fullmatch(host):
        raise _refused(url, f"has no host that makes sense ({host!r})" if host else "has no host")
    if port == 0:
        raise _refused(url, "has port 0")
    if not _PATH.fullmatch(parts.path) or ".." in parts.path or "//" in parts.path:
        raise _refused(url, "has a path with more than letters, digits and ._~-")
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    return Address(parts.scheme, host, port or _PORTS[parts.scheme], shown, prefix=parts.path.rstrip("/"))


def _refused(url: str, why: str) -> UsageError:
    return UsageError(f"the address of an origin {why}: {_without_secrets(url)[:_SHOWN]!r}", hint=_EXAMPLES)


def _without_secrets(url: str) -> str:
    """As much of an address as may be shown, be it one or not. Users write passwords and keys before an `@`, behind a
    `?` or `#`, and where a port should be."""
    before, at, after = url.rpartition("@")
    if at:
        host = "" if re.search(r"[?#]", before) else re.sub(r"[^A-Za-z0-9.-].*", "", after, flags=re.DOTALL)
        return f"...@{host}..."
    shown = re.sub(r"[?#].*", "?...", url, count=1, flags=re.DOTALL)
    return shown if shown.startswith(_SOCKETS) else _NO_PORT.sub(r"\1:...", shown)
