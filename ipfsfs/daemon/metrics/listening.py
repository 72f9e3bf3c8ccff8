"""Where metrics are served: a Unix socket, or a port of loopback. Both are reached from this machine alone."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import MountError, UsageError
from ipfsfs.origins import address

_BACKLOG: Final = 64
_HINT: Final = "Serve them at unix:///run/ipfsfs/metrics.sock or http://127.0.0.1:9400, for example."


@dataclass(slots=True, frozen=True)
class Address:
    """`socket`: the path of a Unix socket; where it is empty, `host` and `port` count."""

    socket: str
    host: str
    port: int


def parse(text: str) -> Address:
    """An address as users write it. Raises UsageError for one that other machines could reach."""
    try:
        at = address.parse(text)
    except UsageError as error:
        said = str(error).replace("the address of an origin", "the address")
        raise UsageError(said, hint=_HINT) from error
    if at.socket:
        return Address(at.socket, "", 0)
    if at.scheme != "http" or at.prefix:
        raise UsageError(f"metrics are served as plain http, at /metrics: not as {text!r}", hint=_HINT)
    host = "127.0.0.1" if at.host == "localhost" else at.host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise UsageError(f"metrics are served on loopback alone, and {at.host} is not loopback", hint=_HINT)
    return Address("", host, at.port)


def bind(text: str) -> socket.socket:
    """A socket that listens there. A Unix socket is for its owner alone; one that nothing listens at is replaced.

    Raises UsageError, MountError.
    """
    at = parse(text)
    family = socket.AF_UNIX if at.socket else socket.AF_INET6 if ":" in at.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if at.socket:
            _bind_unix(listening, at.socket)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((at.host, at.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        why = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise MountError(f"metrics cannot be served at {text}: {why}", hint="Choose another --metrics.") from error
    return listening


def _bind_unix(listening: socket.socket, path: str) -> None:
    """Raises OSError, EADDRINUSE where something listens there or what stands there is no socket of ours."""
    if _is_left_over(path):
        with suppress(FileNotFoundError):
            os.unlink(path)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    finally:
        os.umask(before)


def _is_left_over(path: str) -> bool:
    """Whether a socket of ours stands there at which nothing listens any more."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
