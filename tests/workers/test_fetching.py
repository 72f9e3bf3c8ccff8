"""The fetching process as the daemon sees it: which origin gave each leaf, and how the origins fare."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
import xxhash

from ipfsfs.errors import OriginError, Said
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.client import Arrived, Fetcher, open_fetcher
from ipfsfs.workers.fetcher.served import Served
from ipfsfs.workers.fetcher.table import pack
from tests.support.dags import raw
from tests.support.hostile_server import HostileServer, Stream, hostile_server, saying

_FIRST, _SECOND, _NOWHERE = b"first" * 100, b"second" * 50, b"third" * 10
_EXTENT = "extent"


@dataclass(slots=True)
class _Gateway:
    """A gateway that has some blocks."""

    blocks: list[bytes]
    servers: list[HostileServer] = field(default_factory=list)

    async def answer(self, stream: Stream, number: int) -> None:
        path = self.servers[0].requests[number].split()[1]
        found = [block for block in self.blocks if cid.to_text(raw(block)) in path]
        await stream.send_all(saying(found[0]) if found else saying(b"", "404 Not Found"))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with hostile_server(self.answer) as server:
            self.servers.append(server)
            yield server.url


def _records(*leaves: bytes) -> bytes:
    at, records = 0, b""
    for leaf in leaves:
        records += pack(at, len(leaf), raw(leaf))
        at += len(leaf)
    return records


async def _arrived(fetcher: Fetcher, *leaves: bytes) -> dict[int, Arrived]:
    async with fetcher.leaves(_EXTENT, _records(*leaves), [None] * len(leaves)) as arriving:
        return {leaf.offset: leaf async for leaf in arriving}


def test_who_gave_a_leaf_is_told_and_counted(tmp_path: Path) -> None:
    extents = blocks = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / _EXTENT).touch()

    async def check() -> None:
        async with _Gateway([_FIRST]).open() as one, _Gateway([_FIRST, _SECOND]).open() as other:
            settings = [OriginSettings("gateway", one), OriginSettings("gateway", other)]
            async with open_fetcher(extents, blocks, extents, settings) as fetcher:
                assert (fetcher.served, fetcher.origins) == ({}, ())
                first, second = f"gateway {one}", f"gateway {other}"
                assert await _arrived(fetcher, _FIRST, _SECOND) == {
                    0: Arrived(0, xxhash.xxh3_64_intdigest(_FIRST), first),
                    500: Arrived(
                        500,
                        xxhash.xxh3_64_intdigest(_SECOND),
                        second,
                        (Said(first, f"{first} does not have {cid.to_text(raw(_SECOND))}"),),
                    ),
                }
                again = await _arrived(fetcher, _FIRST, _SECOND)
                assert {leaf.by for leaf in again.values()} == {""}, "the extent held them"
                assert fetcher.served == {first: Served(1, len(_FIRST)), second: Served(1, len(_SECOND))}
                states = [(state.name, state.asked, state.blocks, state.failures) for state in fetcher.origins]
                assert states == [(first, 2, 1, 0), (second, 1, 1, 0)]

    trio.run(check)
    os.close(extents)


def test_how_origins_fare_is_told_when_nothing_comes(tmp_path: Path) -> None:
    extents = blocks = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / _EXTENT).touch()

    async def check() -> None:
        async with _Gateway([]).open() as one:
            settings = [OriginSettings("gateway", one), OriginSettings("gateway", "http://127.0.0.1:1")]
            async with open_fetcher(extents, blocks, extents, settings) as fetcher:
                with pytest.raises(OriginError) as failed:
                    await _arrived(fetcher, _NOWHERE)
                assert [said.origin for said in failed.value.said] == [f"gateway {one}", "gateway http://127.0.0.1:1"]
                has_not, unreachable = fetcher.origins
                assert (has_not.failures, has_not.trouble) == (0, "")
                assert (unreachable.failures, unreachable.blocks) == (1, 0)
                assert "cannot be reached" in unreachable.trouble
                assert fetcher.served == {}

    trio.run(check)
    os.close(extents)
