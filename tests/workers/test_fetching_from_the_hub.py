"""The fetching process and the Hub: whole files by their digest, leaves by ranges, and listings that others wrote."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from ipfsfs.errors import FormatError, IpfsfsError, OriginError
from ipfsfs.origins.hub_files import HubFile
from ipfsfs.origins.registry import OriginSettings
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.client import Fetcher, open_fetcher
from ipfsfs.workers.fetcher.table import pack
from tests.support.hub import LocalHub

DATA = random.Random(3).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
LEAF = pack(1 << 20, 1 << 20, cid.raw_cid(hashlib.sha256(DATA[1 << 20 : 2 << 20]).digest()))

T = TypeVar("T")


def with_fetcher(directory: Path, hub: LocalHub | None, use: Callable[[Fetcher], Awaitable[T]]) -> T:
    async def main() -> T:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        settings = [OriginSettings("hub", hub.url)] if hub is not None else []
        try:
            async with open_fetcher(fd, fd, fd, settings) as fetcher:
                with trio.fail_after(60):
                    return await use(fetcher)
        finally:
            os.close(fd)

    return trio.run(main)


def test_what_is_there_is_gone_on_with(tmp_path: Path) -> None:
    """A beginning that is right, one that is not, and all of it."""
    extent = tmp_path / "extent"
    with LocalHub(tmp_path / "hub") as hub:
        file = HubFile("models", "org/name", hub.add("org/name", {"model.bin": DATA}), "model.bin")

        async def use(fetcher: Fetcher) -> None:
            begun = {DATA[:1_000_000]: [2_000_000], b"wrong" * 1_000: [2_995_000, 3_000_000], DATA: []}
            for beginning, sent in begun.items():
                extent.write_bytes(beginning)
                before = len(hub.requests("org/name"))
                whole = await fetcher.whole("extent", SHA256, len(DATA), [file], lambda done: None)
                assert whole.sha256.hex() == SHA256
                assert [one.sent for one in hub.requests("org/name")[before:] if one.sent] == sent
                assert extent.read_bytes() == DATA
            extent.write_bytes(b"")
            for wrong in (len(DATA) + 1, 5):
                with pytest.raises(OriginError, match="has 3000000 bytes"):
                    await fetcher.whole("extent", SHA256, wrong, [file], lambda done: None)
            with pytest.raises(OriginError, match="no link or listing"):
                await fetcher.whole("extent", "0" * 64, -1, [], lambda done: None)

        with_fetcher(tmp_path, hub, use)


def test_h33_the_hub_counts_as_an_origin_once_it_gave_a_leaf(tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        file = HubFile("models", "org/name", hub.add("org/name", {"model.bin": DATA}), "model.bin")

        async def use(fetcher: Fetcher) -> None:
            assert await fetcher.given(LEAF, [file]) == f"hub {hub.url}"
            assert await fetcher.given(LEAF, []) == ""
            hub.spoil("org/name", "model.bin", flip=(1 << 20) + 5)
            with pytest.raises(OriginError, match="are not"):
                await fetcher.given(LEAF, [file])
            hub.restrict("org/name", "gated", "hf_token")
            with pytest.raises(IpfsfsError, match="GatedRepo") as caught:
                await fetcher.given(LEAF, [file])
            assert "--hub-token-file" in caught.value.hint

        with_fetcher(tmp_path, hub, use)

    async def none(fetcher: Fetcher) -> None:
        assert await fetcher.given(LEAF, [file]) == ""

    with_fetcher(tmp_path, None, none)


def test_h48_listings_may_be_anyones(tmp_path: Path) -> None:
    files = {
        "a.bin": {"size": 5, "blob_id": "d" * 40, "lfs_sha256": SHA256},
        "b.json": {"size": 7, "blob_id": "e" * 40},
        "c": ["no", "object"],
        "d": {"size": -1, "blob_id": "e" * 40},
    }
    right = json.dumps({"format_version": 1, "files": files}).encode()

    async def use(fetcher: Fetcher) -> None:
        assert await fetcher.listed(SHA256, right) == (["a.bin"], 5)
        assert await fetcher.listed("e" * 40, right) == (["b.json", "d"], 7)
        assert await fetcher.listed("f" * 40, right) == ([], -1)
        assert await fetcher.listed(SHA256, right.replace(b'_version": 1', b'_version": 2')) == ([], -1)
        for text in (b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format_version": 1, "files": []}'):
            with pytest.raises(FormatError):
                await fetcher.listed(SHA256, text)

    with_fetcher(tmp_path, None, use)
