"""A pin that is fetched for long: other commands go on, and it can be given up."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import parse
from tests.support.block_server import BlockServer, block_server
from tests.support.cars import blocks_of, car_with
from tests.support.mounted import TREE, Mounted, environment, ipfsfs
from tests.support.processes import eventually

CONTENT = random.Random(62).randbytes(3_300_000)


class Stuck:
    """A view in which the pin of a CID waits for a leaf that its origin does not give."""

    def __init__(self, server: BlockServer, view: Mounted) -> None:
        reference = parse(server.add(CONTENT).encode())
        assert reference is not None
        self.server, self.view, self.root = server, view, cid.to_text(reference.root)
        leaf = next(name for name, block in server.blocks.items() if len(block) == 1 << 20)
        server.held.add(leaf)
        self.command = subprocess.Popen(
            [sys.executable, "-m", "ipfsfs", "pin", "add", self.root, "--view", view.path],
            env=environment(), cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        eventually(lambda: leaf in server.asked, "the leaf is asked for")

    def end(self) -> tuple[int, str]:
        """The leaf can be had from now on. Returns the exit code, and what was said of what went wrong."""
        self.server.held.clear()
        _, said = self.command.communicate(timeout=60)
        return self.command.returncode, said


@pytest.fixture
def stuck(mounted: Callable[..., Mounted]) -> Iterator[Stuck]:
    with block_server() as server:
        found = Stuck(server, mounted(None, "--gateway", server.url))
        yield found
        if found.command.poll() is None:
            found.end()
        found.view.umount()


def test_other_commands_go_on_while_a_pin_is_fetched(stuck: Stuck, tmp_path: Path) -> None:
    view = stuck.view
    (view.path / "small").write_bytes(b"a file of the view")
    root, blocks = blocks_of(os.urandom(1_500_000))
    (tmp_path / "one.car").write_bytes(car_with(cid.from_text(root), blocks))
    commands: list[tuple[str | Path, ...]] = [
        ("import", tmp_path / "one.car", "--view", view.path),
        ("collect", "--view", view.path),
        ("pin", "add", view.path / "small"),
        ("pin", "ls", "--view", view.path),
        ("evict", view.path / "small"),
        ("pin", "rm", view.path / "small"),
        ("rm", root, "--view", view.path),
    ]
    for command in commands:
        done = ipfsfs(*command, check=False, timeout=40)
        assert done.returncode == (command[0] == "evict"), (command, done.stderr)
    assert stuck.command.poll() is None, "it waits still"
    assert stuck.end()[0] == 0
    assert [(pin["cid"], pin["complete"]) for pin in view.pins()] == [(stuck.root, True)]
    stuck.server.is_dead = True
    ipfsfs("attach", stuck.root, view.path / "again")
    assert (view.path / "again").read_bytes() == CONTENT


def test_a_pin_that_is_removed_while_it_is_fetched_is_given_up(stuck: Stuck) -> None:
    view = stuck.view
    ipfsfs("pin", "rm", stuck.root, "--view", view.path, timeout=40)
    assert view.pins() == []
    code, said = stuck.end()
    assert code == 1
    assert "was unpinned while it was pinned" in said
    assert view.pins() == []
    ipfsfs("collect", "--view", view.path)
    assert os.listdir(view.store / "extents" / "pinned") == []


def test_two_commands_pin_the_same_at_the_same_time(stuck: Stuck) -> None:
    view = stuck.view
    other = subprocess.Popen(
        [sys.executable, "-m", "ipfsfs", "pin", "add", stuck.root, "--view", view.path], env=environment(), cwd=TREE
    )
    eventually(lambda: len(view.pins()) == 1, "it is known")
    assert stuck.end()[0] == 0
    assert other.wait(60) == 0
    assert [pin["complete"] for pin in view.pins()] == [True]
