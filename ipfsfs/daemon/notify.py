"""Telling systemd how the service is: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket


def tell_systemd(state: str) -> None:
    """Send a state such as `READY=1`, where systemd asked for it; elsewhere do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # a service manager that does not listen is no reason to stop
