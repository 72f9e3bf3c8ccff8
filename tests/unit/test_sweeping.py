"""Which blocks of the store trees need."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ipfsfs.exchange import sweeping
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs.dagpb import Link
from tests.support.dags import directory_node

LEVELS, LINKS = 40, 5_000
MEMORY_MOST = 8 << 20
"""Bytes: one node of the tree takes some 3 MB while it is read, all links of all levels some 20 MB."""


@pytest.mark.parametrize("walk", [sweeping.below, sweeping.files_below])
def test_h48_links_that_are_repeated_take_no_memory(
    walk: Callable[[Blocks, Iterable[bytes]], set[bytes]], tmp_path: Path
) -> None:
    made: dict[bytes, bytes] = {}
    root = directory_node(made)
    for _ in range(LEVELS):
        root = directory_node(made, *(Link(root, b"%04d" % number, 0) for number in range(LINKS)))
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    blocks = Blocks(fd)
    for block_cid, block in made.items():
        blocks.put(block_cid, block)
    made.clear()
    tracemalloc.start()
    try:
        assert len(walk(blocks, [root])) == LEVELS + 1
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MOST
    finally:
        tracemalloc.stop()
        os.close(fd)
