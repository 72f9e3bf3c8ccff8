"""Real server processes, and what asks them."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ipfsfs.origins.signing import HEADER, Asked, Token
from ipfsfs.unixfs import cid
from ipfsfs.workers.server.settings import ServerSettings
from tests.support.served import TOKEN, ServedDirectory

ID = "0" * 32


@dataclass(slots=True, frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServedDirectory]]:
    """Starts a server, with these settings."""
    made: list[ServedDirectory] = []

    def start(*, host: str = "127.0.0.1", **settings: str | bool) -> ServedDirectory:
        server = ServedDirectory(tmp_path / str(len(made)), ServerSettings(ID, **settings), host)  # type: ignore[arg-type]
        made.append(server)
        server.start()
        return server

    yield start
    for server in made:
        server.close()


@pytest.fixture
def server(serve: Callable[..., ServedDirectory]) -> ServedDirectory:
    """A server without a token, on loopback."""
    return serve()


def ask(
    server: ServedDirectory,
    target: bytes | str,
    *,
    method: str = "GET",
    body: bytes = b"",
    signed_with: str = "",
    signature: str = "",
    seconds: float | None = None,
    **headers: str,
) -> Got:
    """Ask for a CID's block, or anything else. Names of headers are written with `_` for `-`."""
    text = f"/ipfs/{cid.to_text(target)}?format=raw" if isinstance(target, bytes) else target
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    host = sent.setdefault("Host", f"{server.host}:{server.port}")
    if signed_with:
        is_have = sent.get("Cache-Control") == "only-if-cached"
        asked = Asked(method, text, host, is_have, body)
        when = time.time() if seconds is None else seconds
        sent[HEADER] = Token.of(signed_with).sign(asked, when).value
    if signature:
        sent[HEADER] = signature
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, text, body or None, sent)
        answer = connection.getresponse()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def ask_signed(server: ServedDirectory, target: bytes | str, seconds: float | None = None) -> Got:
    """The same, as a machine of the site whose clock says so."""
    return ask(server, target, signed_with=TOKEN, seconds=seconds)
