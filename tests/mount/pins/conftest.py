"""A cluster over a node of its own, whose RPC asks for no credentials: Cluster has none to give."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import ClusterPeer
from tests.support.kubo_node import KuboNode


@pytest.fixture(scope="session")
def open_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    """A node without credentials."""
    node = KuboNode(tmp_path_factory.mktemp("open-kubo"), {"API.Authorizations": {}})
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def cluster(open_node: KuboNode) -> Iterator[ClusterPeer]:
    """A real cluster of one peer."""
    peer = ClusterPeer(open_node)
    try:
        peer.start()
        yield peer
    finally:
        peer.close()
