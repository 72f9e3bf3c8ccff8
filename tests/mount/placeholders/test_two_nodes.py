"""Two IPFS nodes in a private swarm: what is published to one is attached over the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, eventually_resident
from tests.support.kubo_node import CANARY, SWARM, KuboNode
from tests.support.mounted import Mounted, ipfsfs

pytestmark = pytest.mark.kubo

CONTENT = os.urandom(2_500_000)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[KuboNode, KuboNode]]:
    """Two nodes that are connected with each other and with nothing else."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    nodes = KuboNode(tmp_path / "one", SWARM), KuboNode(tmp_path / "other", SWARM)
    try:
        for node in nodes:
            node.start()
        one, other = nodes
        other.join(one)
        yield one, other
    finally:
        for node in nodes:
            node.close()


def test_what_one_has_is_attached_over_the_other(
    tmp_path: Path, two: tuple[KuboNode, KuboNode], mounted: Callable[..., Mounted]
) -> None:
    one, other = two
    here = Elsewhere(one, mounted, tmp_path)
    root = here.publish({"model/weights": CONTENT, "model/config.json": b"{}"})
    (tmp_path / "there").mkdir()
    secret = tmp_path / "authorization-of-the-other"
    secret.write_text(f"Bearer {CANARY}\n")
    view = mounted(
        tmp_path / "there", "--kubo", other.api, "--kubo-authorization-file", str(secret), "--patience", "30"
    )
    ipfsfs("attach", root, view.path / "tree")
    weights = view.path / "tree" / "model" / "weights"
    assert weights.stat().st_size == len(CONTENT)
    assert weights.read_bytes() == CONTENT
    eventually_resident(view, weights)
    assert (view.path / "tree" / "model" / "config.json").read_bytes() == b"{}"
