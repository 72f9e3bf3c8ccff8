"""`--peers`: what is named, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfsfs.errors import UsageError
from ipfsfs.origins.peer_list import HostPort, PeerList, host_port, listed, parse


def test_a_list_a_name_and_a_file() -> None:
    assert parse("10.0.0.1:4780, Node2:1;[fd00::1]:2,node2:1").listed == (
        HostPort("10.0.0.1", 4780),
        HostPort("node2", 1),
        HostPort("fd00::1", 2),
    )
    assert parse("dns:peers.example:4780") == PeerList(dns=HostPort("peers.example", 4780))
    assert parse("/etc/ipfsfs/peers") == PeerList(file=Path("/etc/ipfsfs/peers"))
    assert str(HostPort("fd00::1", 2)) == "[fd00::1]:2"


@pytest.mark.parametrize(
    "text", ["", ",", "host", "host:", "host:0", "host:65536", "host:1x", ":1", "a b:1", "a@b:1", "http://a:1", "::1:2"]
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_a_list_has_an_end() -> None:
    with pytest.raises(UsageError):
        listed(",".join(f"h{number}:1" for number in range(5_000)))
    assert host_port("a:1") == HostPort("a", 1)
