"""Places to mount over, which a test names before `mounted`, so that they outlive the view; a node and a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import ClusterPeer
from tests.support.kubo_node import KuboNode
from tests.support.mounted import Mounted, clear
from tests.support.team import TEAM
from tests.support.twins import Twins


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """The root of a filesystem of 8 MiB in memory: no store can be beside it. Needs root."""
    at = tmp_path / "volume"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", at], check=True)
    try:
        yield at
    finally:  # after a test that failed a daemon may still hold on to it for a moment
        subprocess.run(["umount", "--lazy", at], check=True)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A view and a plain directory on the same filesystem, for all tests of a module; checked at the end."""
    root = tmp_path_factory.mktemp("twins")
    for name in ("view", "disk"):  # of one length: what fits into a path on one side fits on the other
        (root / name).mkdir()
    mount = Mounted(root / "view").mount()
    try:
        yield Twins(mount, root / "disk")
        mount.finish()
    finally:
        clear(mount.path)


@pytest.fixture(scope="session")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """A node whose RPC asks for no credentials: Cluster has none to give."""
    node = KuboNode(tmp_path_factory.mktemp("open-kubo"), {"API.Authorizations": {}})
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def cluster(open_node: KuboNode) -> Iterator[ClusterPeer]:
    """A real cluster of one peer, over that node."""
    peer = ClusterPeer(open_node)
    try:
        peer.start()
        yield peer
    finally:
        peer.close()


@pytest.fixture
def team(open_to_all: Path, mounted: Callable[..., Mounted]) -> Mounted:
    """A view of a new directory, for a team."""
    (open_to_all / "cache").mkdir()
    (open_to_all / "cache").chmod(0o770)
    return mounted(open_to_all / "cache", "--team", str(TEAM))
