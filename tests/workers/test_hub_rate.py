"""How fast the Hub is: one that does not say is not asked over and over."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from ipfsfs.exchange.hub_rate import HubRate
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.settings import OriginSettings
from tests.support.hub import LocalHub
from tests.support.site import free_port, machines

MB = 1_000_000


def test_a_hub_that_does_not_say_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async def check() -> None:
        (machine,) = machines(tmp_path, 1, token="")
        for name in ("plain", "extents", "blocks"):
            (machine.at / name).mkdir(parents=True, exist_ok=True)
        async with machine.fetcher([OriginSettings("hub", f"http://127.0.0.1:{free_port()}")]) as fetcher:
            rate = HubRate(fetcher)
            assert rate.may_probe(trio.current_time())
            await rate.probe(HubFile("models", "org/name", "0" * 40, "model.bin"))
            now = trio.current_time()
            assert rate.known(now) is None
            assert not rate.may_probe(now)
            assert rate.may_probe(now + 31)

    trio.run(check)


@pytest.mark.parametrize(
    ("limit", "least", "most"), [(0, 10 * MB, 1e12), (50 * MB, 10 * MB, 60 * MB), (MB // 2, MB // 4, MB)]
)
def test_one_range_says_how_fast_it_is(tmp_path: Path, limit: int, least: float, most: float) -> None:
    """Whether it comes in one piece, in many, or not within a second."""
    data = os.urandom(2 << 20)

    async def check(hub: LocalHub, file: HubFile) -> None:
        (machine,) = machines(tmp_path, 1, token="")
        for name in ("plain", "extents", "blocks"):
            (machine.at / name).mkdir(parents=True, exist_ok=True)
        async with machine.fetcher([OriginSettings("hub", hub.url)]) as fetcher:
            rate = HubRate(fetcher)
            await rate.probe(file)
            assert least < (rate.known(trio.current_time()) or 0) < most
        assert sum(request.sent for request in hub.requests("org/name")) <= 1 << 20

    with LocalHub(tmp_path / "hub") as hub:
        commit = hub.add("org/name", {"model.bin": data})
        hub.limit(each=limit)
        assert hub.files("org/name")["model.bin"].sha256 == sha256(data).hexdigest()
        trio.run(check, hub, HubFile("models", "org/name", commit, "model.bin"))
