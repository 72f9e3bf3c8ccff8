"""From what a user writes to origins: what is refused, what is said, and that credentials are never shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ipfsfs.errors import UsageError
from ipfsfs.origins.address import parse
from ipfsfs.origins.message import Head
from ipfsfs.origins.refusal import retry_after_s
from ipfsfs.origins.registry import open_ordered, open_origin, open_publisher
from ipfsfs.origins.settings import OriginSettings


@pytest.mark.parametrize(
    ("url", "authority", "shown", "prefix"),
    [
        ("http://127.0.0.1:5001", "127.0.0.1:5001", "http://127.0.0.1:5001", ""),
        ("http://127.0.0.1:5001/", "127.0.0.1:5001", "http://127.0.0.1:5001", ""),
        ("https://Gateway.Example", "gateway.example", "https://Gateway.Example", ""),
        ("https://x.example:443/a/b/", "x.example", "https://x.example:443/a/b", "/a/b"),
        ("http://[::1]:8080", "[::1]:8080", "http://[::1]:8080", ""),
    ],
)
def test_addresses_of_hosts(url: str, authority: str, shown: str, prefix: str) -> None:
    address = parse(url)
    assert (address.authority, address.shown, address.prefix, address.socket) == (authority, shown, prefix, "")


@pytest.mark.parametrize("url", ["unix:///run/ipfs/api.sock", "http+unix:///run/ipfs/api.sock"])
def test_addresses_of_sockets(url: str) -> None:
    address = parse(url)
    assert (address.socket, address.shown, address.scheme) == (
        "/run/ipfs/api.sock",
        "unix:///run/ipfs/api.sock",
        "http",
    )
    assert parse("unix:///with%20space").socket == "/with space"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "has no scheme"),
        ("127.0.0.1:5001", "has no scheme"),
        ("host:5001", "begins with host:"),
        ("localhost", "has no scheme"),
        ("ftp://x", "begins with ftp:"),
        ("/ip4/127.0.0.1/tcp/5001", "has no scheme"),
        ("http://", "has no host"),
        ("http://:5001", "has no host"),
        ("http://a_b", "no host that makes sense"),
        ("http://a..b", "no host that makes sense"),
        ("http://" + "a" * 64, "no host that makes sense"),
        ("http://x:0", "has port 0"),
        ("http://x:99999", "has a port"),
        ("http://x:y", "has a port"),
        ("http://[::1", "is no URL"),
        ("http://x?a=b", "has a query"),
        ("http://x#a", "has a query or a fragment"),
        ("http://x/../y", "has a path"),
        ("http://x/a%20b", "has a path"),
        ("http://x\r\nHost: y", "has characters"),
        ("http://x y", "has characters"),
        ("http://é", "has characters"),
        ("unix://run/x", "has a host before the path"),
        ("unix:///", "names no socket"),
        ("unix:x", "names no socket"),
        ("unix:///a%00b", "names no socket"),
        ("unix:///" + "x" * 107, "longer than 107 bytes"),
        ("http://user:canary@x", "holds credentials"),
        ("http://canary@x:99999", "has a port"),
        ("ftp://user:canary@x", "holds credentials"),
        ("http://user:canary", "has a port"),
        ("http://user:canary/path", "has a port"),
        ("user:canary", "begins with user:"),
        ("http://x/?token=canary", "has a query"),
        ("http://x/#canary", "has a query"),
        ("http://x/?a@canary", "has a query"),
        ("http://x/?a=canary@b", "has a query"),
        ("http://user:1?canary@x", "has a query"),
        ("http://user:can ary?canary@x", "has characters"),
        ("http://[::1]:canary", "has a port|is no URL"),
        ("http://[canary@x", "is no URL"),
    ],
)
def test_addresses_that_make_no_sense(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse(url)
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint


@pytest.mark.parametrize(
    "authorization", ["Bearer canary\n", "Bearer canary\r\nX: y", " canary", "canary\x00", "canaryé"]
)
def test_credentials_that_are_no_header_are_refused_and_not_shown(authorization: str) -> None:
    settings = OriginSettings("kubo", "http://x", authorization)
    with pytest.raises(UsageError, match="cannot be the value of a header") as caught:
        open_origin(settings)
    assert "canary" not in f"{caught.value} {caught.value.hint} {settings!r}"


def test_kinds() -> None:
    origins = open_ordered(
        [OriginSettings("kubo", "http://a:5001", "Bearer canary"), OriginSettings("gateway", "http://b")]
    )
    assert origins.name == "kubo http://a:5001, gateway http://b"
    assert "canary" not in repr(origins)
    assert open_publisher(OriginSettings("kubo", "unix:///x")).name == "kubo unix:///x"
    with pytest.raises(UsageError, match="publishes nothing"):
        open_publisher(OriginSettings("gateway", "http://b"))
    with pytest.raises(UsageError, match="no kind of origin: 'hub'"):
        open_origin(OriginSettings("hub", "http://b"))


def test_when_to_come_again() -> None:
    now = datetime(2026, 5, 17, 12, tzinfo=UTC)
    for said, wait_s in [
        ("", 0),
        ("12", 12),
        ("1e3", 0),
        ("²", 0),
        ("9" * 60, 300),
        (format_datetime(now + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(now + timedelta(days=9), usegmt=True), 300),
        (format_datetime(now - timedelta(days=9), usegmt=True), 0),
        ("Mon, 99 Foo 2026 99:99:99 GMT", 0),
    ]:
        assert retry_after_s(Head(429, (("retry-after", said),)), now.timestamp()) == wait_s, said
