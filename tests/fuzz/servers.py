"""Targets: what servers answer. Whatever it is, an error is of ours, printable, and without our secrets."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import trio

from ipfsfs.errors import FormatError, OriginError, UsageError
from ipfsfs.origins import address, holders
from ipfsfs.origins import hub as hubs
from ipfsfs.origins.api import Api
from ipfsfs.origins.cluster import Cluster
from ipfsfs.origins.connection import Connection
from ipfsfs.origins.holders import Reach
from ipfsfs.origins.http import Client, Response
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubFiles
from ipfsfs.origins.kubo import Kubo
from ipfsfs.origins.message import TEXT_MAX, Answer, Head, Limits, Request
from ipfsfs.origins.pinning_service import PinningService
from ipfsfs.origins.refusal import refusal, retry_after_s
from ipfsfs.origins.rpc import Rpc
from ipfsfs.unixfs import cid as cids
from ipfsfs.workers.fetcher.hub_jobs import Listed, _can_be

CANARY: Final = "canary-0123456789"
_AUTHORIZATION: Final = f"Bearer {CANARY}"
_CLIENT: Final = Client("server", address.parse("http://server.example"), _AUTHORIZATION)
_FILE: Final = HubFile("models", "org/name", "a" * 40, "file")
_BODY_MOST: Final = 1 << 20


def _checked(error: Exception) -> None:
    assert isinstance(error, OriginError | FormatError | UsageError), repr(error)
    assert str(error).isprintable(), str(error)
    assert CANARY not in f"{error} {getattr(error, 'hint', '')}", str(error)
    assert len(str(error)) < 2_000


def _calls(*calls: Callable[[], object]) -> None:
    for call in calls:
        try:
            call()
        except (OriginError, FormatError, UsageError) as error:
            _checked(error)


def router(data: bytes) -> None:
    """What a router says of holders: whatever it names, it is an address that could be connected to, or nothing."""
    for record in holders.records(data):
        for gate in holders.gates(record):
            assert gate.shown.isprintable()
            assert 0 < gate.port < 1 << 16
            if gate.ip:
                Reach.PUBLIC.admits(gate.ip)


def http(data: bytes) -> None:
    """All that comes over a connection, in two pieces."""

    async def read() -> None:
        ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(one)) for one in socket.socketpair())
        limits = Limits(connect_s=1, silence_s=1, grace_s=1)
        connection = Connection("server", ours, limits, _AUTHORIZATION)
        try:
            await connection.begin(Request("GET", "/"), "/", (("Host", "server"), ("Authorization", _AUTHORIZATION)))
            await theirs.receive_some()
            await theirs.send_all(data.replace(b"CANARY", CANARY.encode()))
            await theirs.aclose()
            head = await connection.head(1.0)
            answer = Answer(head, b"", ())
            _checked(refusal("server", answer, _AUTHORIZATION))
            retry_after_s(head, 0.0)
            size = 0
            while piece := await connection.piece():
                size += len(piece)
            assert size <= len(data) + data.count(b"CANARY") * len(CANARY)
            with suppress(OriginError):
                _CLIENT._redirected(head, "server.example", "/x")
            _ = connection.reusable
        except OriginError as error:
            _checked(error)
        finally:
            await connection.close()
            await theirs.aclose()

    trio.run(read)


def kubo(data: bytes) -> None:
    """The body of an answer of Kubo's, for whatever it was asked."""
    body = data.replace(b"CANARY", CANARY.encode())
    rpc, node = Rpc(_CLIENT), Kubo(_CLIENT)
    _calls(
        lambda: node._check_import(body, 100),
        lambda: _checked(rpc._refusal(Answer(Head(500, ()), body[:TEXT_MAX]))),
        lambda: _checked(rpc._refusal(Answer(Head(403, ()), body[:TEXT_MAX]))),
        lambda: rpc.check_trailers((("x-stream-error", body.decode("latin-1")),)),
    )
    found: list[dict[str, Any]] = []
    _calls(lambda: found.extend(rpc.objects(body)))
    for one in found:
        _calls(partial(rpc.text, one, "Key"), partial(rpc.text, one, "Path"), partial(rpc.number, one, "Progress"))


def keepers(data: bytes) -> None:
    """The body of an answer of a pinning service or a cluster."""
    body = data.replace(b"CANARY", CANARY.encode())
    service, cluster, api = PinningService(_CLIENT), Cluster(_CLIENT), Api(_CLIENT, "a server")
    wanted = cids.EMPTY
    for status in (200, 401, 503):
        answer = Answer(Head(status, ()), body)
        _calls(partial(api.one, answer), partial(api.each, answer))
    _checked(api.failure(Answer(Head(400, ()), body)))
    found: list[Any] = []
    _calls(lambda: found.extend(api.each(Answer(Head(200, ()), body))))
    for one in found:
        if isinstance(one, dict):
            results = one.get("results")
            pins = [pin for pin in results if isinstance(pin, dict)] if isinstance(results, list) else [one]
            for pin in pins:
                _calls(partial(service._pin, pin), partial(service._pin, pin, wanted))
                _calls(partial(cluster._pin, pin), partial(cluster._check, pin, wanted))


def hub(data: bytes) -> None:
    """What a Hub says of a repository, and where it sends for a file: the headers of its answer."""
    _calls(lambda: hubs.says_public("hub", data))
    text = data.decode("latin-1").replace("CANARY", CANARY)
    first, _, second = text.partition("\n")
    files = HubFiles(address.parse("https://hub.example"), _AUTHORIZATION)
    try:
        client, _ = files._client(files._joined("https://hub.example/x", first), with_token=True)
    except OriginError as error:
        _checked(error)
    else:
        assert client.address.scheme == "https"
        assert bool(client.authorization) == ((client.address.host, client.address.port) == ("hub.example", 443))
    for status in (200, 206):
        head = Head(status, (("content-range", first), ("content-length", second), ("x-error-code", first)))
        _run(partial(files._total, _response(head), _FILE, 0))


def _response(head: Head) -> Response:
    return Response(head, cast("Connection", None), ended=True)


def _run(call: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        try:
            await call()
        except OriginError as error:
            _checked(error)

    trio.run(main)


def listing(data: bytes) -> None:
    """A repository's listing (`trees/<commit>.json`)."""
    try:
        paths, size = Listed("a" * 64, data[:_BODY_MOST]).look()
    except FormatError as error:
        _checked(error)
        return
    assert size >= -1
    for path in paths:
        file = HubFile("models", "org/name", "a" * 40, path)
        if _can_be(file):
            assert file.target.isascii()
            assert ".." not in file.target.split("/")
