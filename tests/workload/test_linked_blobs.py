"""Blobs of two repositories that were made one inode (`ipfsfs dedup`): the client goes on with each by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.hub import LocalHub
from tests.support.mounted import Mounted, ipfsfs
from tests.support.places import make_place
from tests.workload.test_cache_commands import noise

pytestmark = pytest.mark.workers

WEIGHTS = noise("the same", 2_000_000)


def test_rm_prune_and_verify_of_one_leave_the_other(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        hub.add(f"tests/{name}", {"model.safetensors": WEIGHTS, "config.json": name.encode()})
    view = mounted()
    place = make_place(view.path, hub, tmp_path / "clients")
    for name in ("one", "two"):
        place.clients.hf_ok("download", f"tests/{name}")
    view.seal()
    (done,) = json.loads(ipfsfs("dedup", view.path, "--json").stdout)
    assert done["linked"] + done["shared"] == 1
    for name in ("one", "two"):
        place.clients.hf_ok("cache", "verify", f"tests/{name}", "--fail-on-missing-files")
    weights = place.snapshot("tests/two") / "model.safetensors"

    hub.add("tests/one", {"model.safetensors": noise("newer", 500_000), "config.json": b"one"})
    place.clients.hf_ok("download", "tests/one")
    place.clients.hf_ok("cache", "prune", "--yes")
    assert (place.snapshot("tests/one") / "model.safetensors").read_bytes() == noise("newer", 500_000)
    assert weights.read_bytes() == WEIGHTS
    place.clients.hf_ok("cache", "rm", "model/tests/one", "--yes")
    assert weights.read_bytes() == WEIGHTS
    place.clients.hf_ok("cache", "verify", "tests/two", "--fail-on-missing-files")
    view.umount()
    assert weights.read_bytes() == WEIGHTS
