"""What the kernel knows of a file costs little."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

from ipfsfs.caches.huggingface import HubPlace
from ipfsfs.plain.directory import PlainDirectory
from tests.support.nodes import NO_BACKING, node_table


def test_h13_a_file_the_kernel_knows_costs_a_few_hundred_bytes(tmp_path: Path) -> None:
    plain = PlainDirectory.open(tmp_path)
    nodes = node_table(plain)
    seen = list(os.stat(tmp_path))
    count = 50_000
    tracemalloc.start()
    try:
        for number in range(count):
            seen[1] = 1_000_000 + number
            node = nodes.adopt(
                nodes.root, b"model-%05d-of-00099.safetensors" % number, os.stat_result(seen), NO_BACKING
            )
            node.lookups += 1
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] / count < 600
        for number in range(count):
            nodes.forget(1_000_000 + number, 1)
        gc.collect()
        assert len(nodes) == 1, "and nothing once the kernel has forgotten it"
        assert tracemalloc.get_traced_memory()[0] < count * 100
    finally:
        tracemalloc.stop()
        nodes.close()
        plain.close()


def test_h14_two_directories_for_one_call_are_both_open(tmp_path: Path) -> None:
    """The way to a deep one opens more descriptors than are kept: that of the other must not be closed for it."""
    plain = PlainDirectory.open(tmp_path)
    nodes = node_table(plain, descriptor_limit=64)
    try:
        (tmp_path / "one").mkdir()
        one = nodes.adopt(nodes.root, b"one", os.stat(tmp_path / "one"), NO_BACKING)
        deep, path = nodes.root, tmp_path
        for _ in range(40):
            path /= "deeper"
            path.mkdir()
            deep = nodes.adopt(deep, b"deeper", os.stat(path), NO_BACKING)
        for first, second in ((one, deep), (deep, one)):
            fds = nodes.two_directory_fds(first, second)
            assert [os.fstat(fd).st_ino for fd in fds] == [first.ino, second.ino]
    finally:
        nodes.close()
        plain.close()


def test_a_tree_deeper_than_the_stack_is_reached_from_above(tmp_path: Path) -> None:
    """As after a rename near the root, or when its descriptors were closed to make room for others."""
    plain = PlainDirectory.open(tmp_path)
    nodes = node_table(plain)
    try:
        top = node = nodes.root
        for level in range(2 * sys.getrecursionlimit()):
            fd = nodes.directory_fd(node)
            os.mkdir(b"deeper", dir_fd=fd)
            node = nodes.adopt(node, b"deeper", os.stat(b"deeper", dir_fd=fd), NO_BACKING)
            top = node if level == 0 else top
        nodes.close()
        nodes.moved(top, nodes.root, b"deeper", directory=True)
        assert os.fstat(nodes.directory_fd(node)).st_ino == node.ino
        assert nodes.place(node) is HubPlace.OTHER
    finally:
        nodes.close()
        plain.close()
        subprocess.run(["rm", "-rf", tmp_path / "deeper"], check=True)  # Python's own way is too deep
