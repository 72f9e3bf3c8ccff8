"""The real client over a view that an upstream fills in: what was published is not downloaded again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clients import Clients
from tests.support.elsewhere import Elsewhere
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.processes import eventually

pytestmark = [pytest.mark.kubo, pytest.mark.workers]

WEIGHTS = os.urandom(3_000_000)


def _client(home: Path, hub: LocalHub, scratch: Path) -> Clients:
    scratch.mkdir()
    return Clients(home, hub.url, scratch)


def test_what_is_published_is_downloaded_by_one_client_only(
    hub: LocalHub, elsewhere: Elsewhere, tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    commit = hub.add("o/upstream", {"model.safetensors": WEIGHTS, "config.json": b"{}"})
    (tmp_path / "first").mkdir()
    first = mounted(tmp_path / "first", *elsewhere.options)
    _client(first.path, hub, tmp_path / "its-home").hf_ok("download", "o/upstream")
    done = ipfsfs("publish", first.path / "hub" / "models--o--upstream", env=environment(HF_ENDPOINT=hub.url))
    assert done.stdout.split()
    # As a tree from the root of a cache on, with what else is in it: refs, listings, locks.
    root = ipfsfs("publish", first.path, "--private-too").stdout.split()[-1]
    other = elsewhere.view("--hub", hub.url, "--upstream", root)
    eventually(lambda: "was filled in" in str(other.status()["upstream_says"]), "the upstream is filled in")
    repository = other.path / "hub" / "models--o--upstream"
    assert sorted(path.name for path in repository.iterdir()) == ["blobs", "snapshots"]
    before = sum(hub.sent().values())
    client = _client(other.path, hub, tmp_path / "other-home")
    said = client.hf_ok("download", "o/upstream")
    assert sum(hub.sent().values()) == before, "no content came from the Hub"
    assert commit in said
    assert (repository / "snapshots" / commit / "model.safetensors").read_bytes() == WEIGHTS
    assert (repository / "refs" / "main").read_text() == commit, "the client says so, and no upstream does"
    assert client.hf("cache", "verify", "o/upstream").returncode == 0
