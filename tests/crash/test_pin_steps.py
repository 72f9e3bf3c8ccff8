"""SIGKILL at each line of pinning, unpinning and collecting: what is called pinned has its bytes, the files of the
plain directory are as they were, and the same command goes on from there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ipfsfs.store import recovery
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.kept import Kept, name
from ipfsfs.store.layout import Store
from tests.crash.pin_step import BLOCKS, HERE, STEPS, is_whole
from tests.support.mounted import TREE, environment

BEYOND = 100_000


def _prepare(directory: Path) -> None:
    """A file, and a store with blocks."""
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "cache").mkdir(parents=True)
    (directory / "cache" / "file").write_bytes(HERE)
    Store.open(directory / "store").close()
    with Blocks.of(directory / "store") as blocks:
        for cid, block in BLOCKS:
            blocks.put(cid, block)


def _run(directory: Path, step: str, line: int) -> bool:
    """Do a step up to a line; whether that was beyond the end of it."""
    words = [sys.executable, "-m", "tests.crash.pin_step", str(directory), step, str(line)]
    done = subprocess.run(words, env=environment(), cwd=TREE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout == "done\n"


def _must_be_right(directory: Path) -> int:
    """Look at ledger and store after a kill; returns how many pins are complete."""
    assert (directory / "cache" / "file").read_bytes() == HERE
    store, complete = Store.open(directory / "store"), 0
    try:
        ledger = recovery.open_ledger(store)
        try:
            with Kept.of(directory / "store") as kept:
                for pin in ledger.pins.all():
                    if pin.state != "pinned":
                        continue
                    complete += 1
                    for file in ledger.pins.files(pin.root):
                        data = (directory / "store/extents/pinned" / name(file)).read_bytes()
                        assert is_whole(data, file.root), "what is called pinned is not"
                    assert kept.has_nodes(pin.root)
        finally:
            ledger.close()
    finally:
        store.close()
    return complete


def _kill_at(directory: Path, step: str, line: int) -> bool:
    """Kill a step at a line, look, and go on; whether the line was within the step."""
    _prepare(directory)
    if step in ("remove", "add_amid_removals"):
        assert _run(directory, "add_path", BEYOND)
    if step == "remove":
        assert _run(directory, "add_cid", BEYOND)
    is_over = _run(directory, step, line)
    before = _must_be_right(directory)
    if step in ("add_path", "add_amid_removals", "add_cid"):
        assert _run(directory, "add_path", BEYOND)
        assert _run(directory, "add_cid", BEYOND)
        assert _must_be_right(directory) == 2
    else:
        assert before <= 2
    assert _run(directory, "remove", BEYOND)
    assert _run(directory, "add_amid_removals", BEYOND)
    assert _must_be_right(directory) == 1
    assert _run(directory, "remove", BEYOND)
    assert os.listdir(directory / "store/extents/pinned") == [], "nothing is left that no pin holds"
    return not is_over


def _lines(directory: Path, step: str) -> int:
    """How many lines a step has."""
    first, beyond = 0, 8_192
    while first < beyond:
        line = (first + beyond) // 2
        _prepare(directory)
        if step in ("remove", "add_amid_removals"):
            assert _run(directory, "add_path", BEYOND)
        if step == "remove":
            assert _run(directory, "add_cid", BEYOND)
        if _run(directory, step, line):
            beyond = line
        else:
            first = line + 1
    return first


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_a_line_of_pinning_leaves_what_is_pinned_whole(step: str, tmp_path: Path) -> None:
    """A line each; the campaign below takes many."""
    assert _kill_at(tmp_path / "at", step, random.Random(step).randrange(60))


@pytest.mark.campaign
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_each_line_of_pinning(step: str, tmp_path: Path) -> None:
    """IPFSFS_PIN_LINES says how many lines of each step are drawn, where that is fewer than all."""
    lines = range(_lines(tmp_path / "at", step))
    most = int(os.environ.get("IPFSFS_PIN_LINES", "100000"))
    drawn = sorted(random.sample(lines, min(most, len(lines))))
    killed = sum(_kill_at(tmp_path / "at", step, line) for line in drawn)
    print(f"{step}: killed at {killed} of {len(lines)} lines")
