"""Machines that share and the Hub behind them: it is asked once for all, and more only where peers are slower."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import trio

from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.store.seal import root_of
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.site_messages import PeerSource
from ipfsfs.workers.fetcher.table import LeafTable
from tests.support.hostile_server import Stream, answering, hostile_server, saying
from tests.support.hub import LocalHub
from tests.support.served import leaves_of
from tests.support.site import Machine, cut, free_port, machines, running

SIZE = 24 << 20
NAME = "org/name"
_USER = "hf_of_a_user"


def _blocks(table: LeafTable, data: bytes) -> dict[str, bytes]:
    return {cid.to_text(leaf.cid): data[leaf.offset : leaf.offset + leaf.length] for leaf in table}


def test_where_all_holders_are_gone_the_hub_is_asked_once_for_all(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    root = root_of(leaves_of(data))
    with LocalHub(tmp_path / "hub") as hub:
        file = HubFile("models", NAME, hub.add(NAME, {"model.bin": data}), "model.bin")
        origins = [OriginSettings("hub", hub.url)]

        async def check(site: list[Machine]) -> None:
            source = PeerSource(root, SIZE, (f"127.0.0.1:{free_port()}",))
            for machine in site:
                async with machine.fetcher(origins) as fetcher:
                    await machine.load(fetcher, source, data, [file])
            # What was hedged on a busy machine may have come twice.
            assert sum(request.sent for request in hub.requests(NAME)) <= 1.25 * SIZE

        with running(site := machines(tmp_path, 3, hub=hub.url)):
            trio.run(check, site)
            assert sum(machine.server.totals()["had_from_hub"] for machine in site) >= SIZE / 2


def test_where_peers_are_slower_than_the_hub_it_gives_its_share(tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    blocks = _blocks(cut(data), data)

    async def check(hub: LocalHub, file: HubFile) -> None:
        turn = trio.Lock()

        async def slowly(stream: Stream, number: int) -> None:
            method, target = slow.requests[number].split()[:2]
            text = target.removeprefix("/ipfs/").partition("?")[0]
            if method == "HEAD":
                await stream.send_all(saying(b""))
                return
            async with turn:  # all together come at 1 MiB/s
                await trio.sleep(1.0)
            await stream.send_all(saying(blocks[text]) if text in blocks else saying(b"", "404 Not Found"))

        async with hostile_server(slowly) as slow:
            (loader,) = machines(tmp_path, 1, token="", hub=hub.url, others=[slow.port])
            loader.peers = loader.peers.partition(",")[2]  # it serves nothing itself
            for name in ("plain", "extents", "blocks"):
                (loader.at / name).mkdir(parents=True, exist_ok=True)
            source = PeerSource(root_of(leaves_of(data)), SIZE, (f"127.0.0.1:{slow.port}",))
            async with loader.fetcher([OriginSettings("hub", hub.url)]) as fetcher:
                began = trio.current_time()
                await loader.load(fetcher, source, data, [file])
                took_s = trio.current_time() - began
                from_peer = fetcher.served[f"peer 127.0.0.1:{slow.port}"].leaves
                assert from_peer >= 1, "peers go first"
                assert took_s < 12, "24 s without the Hub"

    with LocalHub(tmp_path / "hub") as hub:
        file = HubFile("models", NAME, hub.add(NAME, {"model.bin": data}), "model.bin")
        trio.run(check, hub, file)


def test_a_quick_load_leaves_the_hub_alone(tmp_path: Path) -> None:
    data = os.urandom(SIZE)

    async def check(site: list[Machine], hub: LocalHub, file: HubFile) -> None:
        root = site[0].server.offer("blob", data)
        async with site[1].fetcher([OriginSettings("hub", hub.url)]) as fetcher:
            await site[1].load(fetcher, PeerSource(root, SIZE, (site[0].address,)), data, [file])
        assert hub.requests(NAME) == []

    with LocalHub(tmp_path / "hub") as hub:
        file = HubFile("models", NAME, hub.add(NAME, {"model.bin": data}), "model.bin")
        with running(site := machines(tmp_path, 2, hub=hub.url)):
            trio.run(check, site, hub, file)


def test_no_peer_is_told_of_a_file_that_is_had_with_a_token(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)

    async def check(hub: LocalHub, commit: str) -> None:
        async with hostile_server(answering(saying(b"", "404 Not Found"))) as listens:
            (loader,) = machines(tmp_path, 1, token="", hub=hub.url, others=[listens.port])
            loader.peers = loader.peers.partition(",")[2]
            for name in ("plain", "extents", "blocks"):
                (loader.at / name).mkdir(parents=True, exist_ok=True)
            source = PeerSource(root_of(leaves_of(data)), len(data))
            async with loader.fetcher([OriginSettings("hub", hub.url)]) as fetcher:
                for with_token in (True, False):
                    file = HubFile("models", NAME, commit, "model.bin", with_token)
                    await loader.load(fetcher, source, data, [file])
            told = [request for request in listens.requests if "hub=" in request]
            assert len(told) == len(listens.requests) / 2

    with LocalHub(tmp_path / "hub") as hub:
        trio.run(check, hub, hub.add(NAME, {"model.bin": data}))


def test_whether_the_hub_gives_a_content_to_anyone_is_asked_without_a_token(tmp_path: Path) -> None:
    data = os.urandom(1_000)

    async def check(hub: LocalHub, open_file: HubFile, gated: HubFile) -> None:
        (machine,) = machines(tmp_path, 1, hub=hub.url)
        for name in ("plain", "extents", "blocks"):
            (machine.at / name).mkdir(parents=True, exist_ok=True)
        digest = sha256(data).digest()
        async with machine.fetcher([OriginSettings("hub", hub.url, f"Bearer {_USER}")]) as fetcher:
            assert await fetcher.public([open_file], digest)
            assert not await fetcher.public([open_file], bytes(32))
            assert not await fetcher.public([gated], digest)
            assert not await fetcher.public([], digest)
            assert await fetcher.public([gated, open_file], digest)

    with LocalHub(tmp_path / "hub") as hub:
        files = {"model.safetensors": data}
        open_file = HubFile("models", NAME, hub.add(NAME, files), "model.safetensors")
        gated = HubFile("models", "org/own", hub.add("org/own", files), "model.safetensors", True)
        hub.restrict("org/own", "gated", _USER)
        trio.run(check, hub, open_file, gated)
