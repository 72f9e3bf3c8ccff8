"""A real Kubo for the tests of origins, with blocks in it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.support.kubo_node import KuboNode

BLOCKS = [random.Random(number).randbytes(1 + 257 * number) for number in range(64)]
"""Small blocks that the node has."""
LARGE = random.Random(99).randbytes(2 << 20)
"""The largest block there can be, which the node has too."""


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    directory = tmp_path_factory.mktemp("kubo")
    node = KuboNode(directory)
    try:
        node.start()
        node.put_blocks([*BLOCKS, LARGE], directory)
        yield node
    finally:
        node.close()
