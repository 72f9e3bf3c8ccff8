"""The fetching process and the Hub: whole files by their digest, leaves by ranges, and listings that others wrote."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from ipfsfs.errors import FormatError, IpfsfsError, NotHeld, OriginError, OtherContent
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.file import build
from ipfsfs.workers.fetcher.client import Fetcher, open_fetcher
from ipfsfs.workers.fetcher.table import table_of
from tests.support.hub import LocalHub

DATA = random.Random(3).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PARTS = [DATA[at : at + (1 << 20)] for at in range(0, len(DATA), 1 << 20)]
LEAVES = [(len(part), hashlib.sha256(part).digest()) for part in PARTS]
TABLE = table_of(LEAVES)
ROOT = build((cid.raw_cid(digest), length) for length, digest in LEAVES).cid

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


def test_h33_the_hub_counts_as_an_origin_once_it_said_so_and_gave_leaves(tmp_path: Path) -> None:
    other = table_of([(length, digest[::-1]) for length, digest in LEAVES])
    with LocalHub(tmp_path / "hub") as hub:
        commit = hub.add("org/name", {"model.bin": DATA, "small.txt": b"in git"})
        file = HubFile("models", "org/name", commit, "model.bin")

        async def use(fetcher: Fetcher) -> None:
            sha256 = bytes.fromhex(SHA256)
            assert await fetcher.given(TABLE, sha256, [file]) == f"hub {hub.url}"
            assert sum(one.sent for one in hub.requests("org/name")) < 2 * len(DATA)
            with pytest.raises(NotHeld, match="no link or listing"):
                await fetcher.given(TABLE, sha256, [])
            with pytest.raises(OriginError, match=f"has the content {SHA256}"):
                await fetcher.given(TABLE, sha256[::-1], [file])
            with pytest.raises(OriginError, match="has 6 bytes of org/name/small"):
                await fetcher.given(TABLE, sha256, [replace(file, path="small.txt")])
            assert await fetcher.given(TABLE, sha256, [replace(file, path="small.txt"), file])
            with pytest.raises(OriginError, match="are not"):
                await fetcher.given(other, sha256, [file])
            hub.restrict("org/name", "gated", "hf_token")
            with pytest.raises(IpfsfsError, match="GatedRepo") as caught:
                await fetcher.given(TABLE, sha256, [file])
            assert "--hub-token-file" in caught.value.hint

        with_fetcher(tmp_path, hub, use)

    async def none(fetcher: Fetcher) -> None:
        with pytest.raises(NotHeld, match="no Hub"):
            await fetcher.given(TABLE, bytes(32), [file])

    with_fetcher(tmp_path, None, none)


def test_a_file_of_which_the_cid_is_known_is_cut_until_that_comes_out(tmp_path: Path) -> None:
    extent = tmp_path / "extent"
    with LocalHub(tmp_path / "hub") as hub:
        commit = hub.add("org/name", {"model.bin": DATA, "other.bin": DATA[::-1]})
        file = HubFile("models", "org/name", commit, "model.bin")

        async def use(fetcher: Fetcher) -> None:
            for beginning in (b"", DATA[:1_000_000], b"wrong" * 1_000, DATA, DATA[::-1]):
                extent.write_bytes(beginning)
                table = await fetcher.cut("extent", ROOT, len(DATA), [file])
                assert table.records == TABLE.records
                assert extent.read_bytes() == DATA
            extent.write_bytes(b"")
            with pytest.raises(OtherContent, match="is not baf"):
                await fetcher.cut("extent", ROOT, len(DATA), [replace(file, path="other.bin")])
            assert extent.read_bytes() == b""
            with pytest.raises(OriginError, match="does not give"):
                await fetcher.cut("extent", ROOT, len(DATA), [replace(file, path="none.bin")])

        with_fetcher(tmp_path, hub, use)


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
