"""The real all-MiniLM-L6-v2, published from one cache by CID and loaded in another that never saw the Hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.hub import LocalHub
from tests.support.mounted import environment, ipfsfs
from tests.support.places import make_place
from tests.workload.test_minilm import embed

pytestmark = [pytest.mark.workers, pytest.mark.kubo]


def test_a_model_is_published_attached_and_loaded_offline(
    hub: LocalHub, minilm: str, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    first, second = elsewhere.view(), elsewhere.view()
    publisher = make_place(first.path, hub, tmp_path / "first")
    publisher.clients.hf_ok("download", minilm)
    weights = embed(publisher)
    at = Path("hub") / f"models--{minilm.replace('/', '--')}"
    root = ipfsfs("publish", first.path / at, env=environment(HF_ENDPOINT=hub.url)).stdout.strip()
    asked = len(hub.requests())

    ipfsfs("attach", root, second.path / at)
    loader = make_place(second.path, hub, tmp_path / "second")
    etag = hub.files(minilm)["model.safetensors"].etag
    blob = loader.blob(minilm, etag)
    assert plain_link(second, blob) is not None, "the weights are not here before they are read"
    assert embed(loader, HF_HUB_OFFLINE="1") == weights
    eventually_resident(second, blob)
    assert len(hub.requests()) == asked, "the Hub was not asked"

    second.umount()
    assert embed(loader, HF_HUB_OFFLINE="1") == weights, "plain disk has what came"


def test_what_came_by_xet_is_published_and_attached_like_any_other(
    hub: LocalHub, elsewhere: Elsewhere, tmp_path: Path
) -> None:
    """The client keeps it in a store beside the repository, which others share: the blob is a link there."""
    content = {"model.safetensors": os.urandom(3_000_000), "config.json": b"{}"}
    hub.add("tests/by-xet", content, xet=True)
    first, second = elsewhere.view(), elsewhere.view()
    publisher = make_place(first.path, hub, tmp_path / "first")
    publisher.clients.hf_ok("download", "tests/by-xet")
    at = Path("hub") / "models--tests--by-xet"
    blob = publisher.blob("tests/by-xet", hub.files("tests/by-xet")["model.safetensors"].etag)
    assert os.readlink(blob).startswith("../../blobs/"), "this is no store of what came by Xet any more"
    root = ipfsfs("publish", first.path / at, env=environment(HF_ENDPOINT=hub.url)).stdout.strip()
    assert ipfsfs("cid", first.path / at).stdout.strip() == root

    ipfsfs("attach", root, second.path / at)
    loader = make_place(second.path, hub, tmp_path / "second")
    assert (loader.snapshot("tests/by-xet") / "model.safetensors").read_bytes() == content["model.safetensors"]
    eventually_resident(second, loader.blob("tests/by-xet", blob.name))
    assert "Verified" in loader.clients.hf_ok("cache", "verify", "tests/by-xet")
    assert ipfsfs("cid", second.path / at).stdout.strip() == root
    ipfsfs("attach", root, first.path / at)
    assert blob.is_symlink(), "what the client has is what was wanted"
    first.umount()
    assert ipfsfs("cid", first.path / at).stdout.strip() == root, "mounted or not"
    loader.clients.hf_ok("cache", "rm", "-y", "model/tests/by-xet")
    assert not (second.path / at).exists()
