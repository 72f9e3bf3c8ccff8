"""Where holders of content listen, by what a router says of them: multiaddrs of HTTP gateways, hostile until checked.

A router names addresses of strangers, and this process then connects to them: so a router that is not of this machine
or its network cannot name what is (`Reach`).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ipfsfs.origins import address
from ipfsfs.origins.address import Address

_RECORDS_MAX: Final = 100
_ADDRESSES_MAX: Final = 16
"""Addresses that are looked at of one holder."""
_LONGEST: Final = 400
_HOSTS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")
_TRANSPORTS: Final[dict[tuple[str, ...], str]] = {("http",): "http", ("https",): "https", ("tls", "http"): "https"}
_INSIDE: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 addresses that lead to IPv4 addresses."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(Enum):
    """Which addresses a router may name."""

    ANYWHERE = "anywhere"
    """It is of this machine or network itself: those may be named."""
    PUBLIC = "public"

    @classmethod
    def of(cls, router: Address) -> Reach:
        """That of the router at an address."""
        if router.socket or router.host == "localhost":
            return cls.ANYWHERE
        try:
            literal = ipaddress.ip_address(router.host)
        except ValueError:
            return cls.PUBLIC
        return cls.ANYWHERE if literal.is_loopback or literal.is_private else cls.PUBLIC

    def admits(self, ip: str) -> bool:
        """Whether an address, written as numbers, may be connected to."""
        try:
            at: IpAddress = ipaddress.ip_address(ip)
        except ValueError:
            return False
        if isinstance(at, ipaddress.IPv6Address):
            if at.scope_id is not None or any(at in network for network in _INSIDE):
                return False
            at = at.ipv4_mapped or at
        if at.is_multicast or at.is_unspecified or at.is_link_local:
            return False
        return at.is_global or (self is Reach.ANYWHERE and not (at.is_reserved and at.version == 4))


@dataclass(slots=True, frozen=True)
class Gate:
    """A gateway of a holder. `ip`: its address; empty where `host` is a name that has to be looked up."""

    scheme: str
    host: str
    port: int
    ip: str

    @property
    def shown(self) -> str:
        """As a URL."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def address(self, ip: str) -> Address:
        """To be connected to at an IP address that was admitted."""
        return Address(self.scheme, self.host, self.port, self.shown, connect=ip)


def gate(multiaddr: str) -> Gate | None:
    """The HTTP gateway that a multiaddr names; None for any other."""
    if len(multiaddr) > _LONGEST or not multiaddr.startswith("/"):
        return None
    parts = multiaddr[1:].split("/")
    if len(parts) > 2 and parts[-2] == "p2p":
        parts = parts[:-2]
    if len(parts) < 5 or parts[0] not in _HOSTS or parts[2] != "tcp":
        return None
    kind, host, _, port, *rest = parts
    if rest[:1] == ["tls"] and rest[1:2] == ["sni"] and rest[2:3] == [host]:
        rest = ["tls", *rest[3:]]
    scheme = _TRANSPORTS.get(tuple(rest))
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16
    if scheme is None or not is_port or not address.HOST.fullmatch(host):
        return None
    try:
        literal = str(ipaddress.ip_address(host))
    except ValueError:
        return Gate(scheme, host.lower(), int(port), "") if kind.startswith("dns") else None
    is_so = kind == ("ip6" if ":" in literal else "ip4")
    return Gate(scheme, literal, int(port), literal) if is_so else None


def gates(record: object) -> Iterator[Gate]:
    """The gateways that a record of a router names."""
    addresses = record.get("Addrs") if isinstance(record, dict) else None
    if isinstance(addresses, list):
        for text in addresses[:_ADDRESSES_MAX]:
            found = gate(text) if isinstance(text, str) else None
            if found is not None:
                yield found


def records(body: bytes) -> list[Any]:
    """The records in an answer, or in a part of it that ends with a line: NDJSON, or one object that lists them. What
    is none is left out."""
    found: list[Any] = []
    for line in body.splitlines()[:_RECORDS_MAX]:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue
        listed = said.get("Providers") if isinstance(said, dict) else None
        found += listed[:_RECORDS_MAX] if isinstance(listed, list) else [said]
    return found[:_RECORDS_MAX]
