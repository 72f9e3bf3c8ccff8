"""`--share published`: other machines may have what `publish` named, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.two_machines import FOLDER, REPO, taken, two

pytestmark = [pytest.mark.kubo, pytest.mark.workers]

WEIGHTS, OTHERS = os.urandom(3_000_000), os.urandom(2_000_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "served") as running:
        yield running


def test_only_what_was_published_is_there_on_the_second_machine(
    hub: LocalHub, elsewhere: Elsewhere, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    hub.add(REPO, {"model.safetensors": WEIGHTS})
    hub.add("org/other", {"other.safetensors": OTHERS})
    one, other = two(mounted, hub, tmp_path, "--share", "published", *elsewhere.options)
    one.download()
    one.clients.hf_ok("download", "org/other")
    one.view.settle()
    assert max(peer["announced"] for peer in one.peers()) == 0, "nothing is offered before"
    ipfsfs("publish", one.view.path / "hub" / FOLDER, env=environment(HF_ENDPOINT=hub.url))
    one.announced()

    other.download()
    other.clients.hf_ok("download", "org/other")
    assert other.blob(WEIGHTS).read_bytes() == WEIGHTS
    assert len(taken(hub, "model.safetensors")) == 1
    assert len([asked for asked in hub.requests("org/other") if asked.sent > 1_000]) == 2
    other.bring_all()
