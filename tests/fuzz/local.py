"""Targets: what other programs and users of this machine say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import trio
import trio.testing

from ipfsfs.cli.settings import file
from ipfsfs.daemon import control, mounts
from ipfsfs.daemon.metrics import exporter as exporters
from ipfsfs.daemon.metrics import listening
from ipfsfs.daemon.questions.registry import QUESTIONS
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.origins import address as addresses
from ipfsfs.origins.peer_list import HostPort
from ipfsfs.workers import wire
from ipfsfs.workers.server.admission import Admission
from ipfsfs.workers.server.blocks import HereBlocks
from ipfsfs.workers.server.caller import Ends
from ipfsfs.workers.server.catalog import Catalog
from ipfsfs.workers.server.connection import Connection
from ipfsfs.workers.server.endpoints import NoEndpoints
from ipfsfs.workers.server.gateway import Gateway
from ipfsfs.workers.server.relay import NoRelay
from ipfsfs.workers.server.service import Service
from ipfsfs.workers.server.totals import Totals

_CANARY: Final = "canary"


def pipe(data: bytes) -> None:
    """What comes through the pipe from a sealer."""
    decoder = wire.Decoder()
    try:
        for header, blob in decoder.feed(data):
            assert isinstance(header, dict)
            assert len(blob) <= len(data)
    except FormatError:
        pass


def question(data: bytes) -> None:
    """What is said to the control socket."""

    async def ask() -> None:
        theirs, ours = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.aclose()
        try:
            found = control._parse(await control._read_line(ours))  # type: ignore[arg-type]
        except UsageError:
            return
        assert type(found) in QUESTIONS.values()

    trio.run(ask)


def mountinfo(data: bytes) -> None:
    """A line of the mount table. The kernel writes it, but with names that others choose."""
    path = b"/" + data.replace(b"\0", b"").replace(b"/", b"")
    shown = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in path)
    found = mounts.Mount.parse(b"36 35 98:0 / " + shown + b" rw,noatime shared:1 - fuse.ipfsfs " + shown + b" rw\n")
    assert os.fsencode(found.mountpoint).strip(b"/.") == path.strip(b"/.")
    assert os.fsencode(found.source) == path


def _is_told(right: bool, error: UsageError) -> None:
    assert right, str(error)


def settings(data: bytes) -> None:
    """A configuration file."""
    path = Path("/nonexistent/config.toml")
    try:
        found = file.parse(path, data.decode("utf-8", "replace"))
    except UsageError as error:
        found = None
        _is_told(str(path) in str(error), error)
    assert found is None or found.path == path


def address(data: bytes) -> None:
    """The address of a server, as a user writes it: with a password before the host, and a key behind it."""
    text = data.decode("utf-8", "replace")
    for written in (
        text,
        f"http://u:{_CANARY}@{text}",
        f"{text}?{_CANARY}",
        f"http://{text}#{_CANARY}",
    ):
        for parse in (addresses.parse, listening.parse):
            try:
                found: object = parse(written)
            except UsageError as error:
                found = None
                _is_told(_CANARY not in str(error), error)
            assert _CANARY not in str(found) or _CANARY in text, (written, found)


def exporter(data: bytes) -> None:
    """A request for metrics."""

    async def ask() -> None:
        theirs, ours = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.aclose()
        request = await exporters._request(ours)  # type: ignore[arg-type]
        served = exporters.Exporter(exporters.Latest(Path("/nonexistent")), answers_to_any_name=False)
        with trio.fail_after(5):
            page = await served._answer(request)
        assert page.encoded(head_only=request.startswith(b"HEAD ")).startswith(b"HTTP/1.1 ")

    trio.run(ask)


def server(data: bytes) -> None:
    """What a client sends to the server, which is open to anyone."""

    async def talk() -> None:
        totals = Totals()
        here = HereBlocks.of(Catalog(), -1, -1, -1)
        admission = Admission.of(None, is_open=True, is_loopback=False)
        service = Service(admission, Gateway(here, NoRelay(), totals), NoEndpoints(), totals)
        theirs, ours = trio.testing.memory_stream_pair()
        await theirs.send_all(data)
        await theirs.send_eof()
        with trio.fail_after(5):
            await Connection(ours, Ends("10.0.0.1", HostPort("10.0.0.2", 4780)), service).serve()  # type: ignore[arg-type]
            await ours.aclose()
            said = b"".join([part async for part in theirs])
        assert said == b"" or said.startswith(b"HTTP/1.1 ")

    trio.run(talk)
