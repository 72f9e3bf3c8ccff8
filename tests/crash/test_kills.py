"""SIGKILL of the daemon at random moments, under workers that write: nothing acknowledged is lost, nothing is wrong."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.model import Model
from tests.support.mounted import TREE, Mounted, environment

KILLS = int(os.environ.get("IPFSFS_KILLS", "1000"))


def _round(mount: Mounted, number: int, chance: random.Random, writers: int = 2) -> tuple[int, float]:
    """Mount, let workers write, kill, look; returns how much was acknowledged, and how long the path was not plain."""
    mount.mount()
    tops = [mount.path / f"round{number}-{writer}" for writer in range(writers)]
    running = []
    for writer, top in enumerate(tops):
        top.mkdir()
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.crash.writer", top, str(number * writers + writer)],
                stdout=subprocess.PIPE,
                env=environment(),
                cwd=TREE,
            )
        )
    # All of them have begun; then some time in which files are sealed, resealed and read.
    firsts = [worker.stdout.readline() for worker in running if worker.stdout is not None]
    time.sleep(chance.uniform(0.0, 0.8))
    took = mount.kill()
    models = []
    for worker, first in zip(running, firsts, strict=True):
        worker.terminate()  # one that had nothing open at that moment goes on, on plain disk
        assert worker.stdout is not None
        models.append(Model.of(first + worker.stdout.read()))
        worker.stdout.close()
        worker.wait(30)
    for top, model in zip(tops, models, strict=True):
        assert model.wrong == []
        assert model.differences(top) == [], "on plain disk, right after the kill"
    mount.mount()
    for top, model in zip(tops, models, strict=True):
        assert model.differences(top) == [], "through the next view"
        shutil.rmtree(top)
    mount.umount()
    return sum(model.acknowledged for model in models), took


def _rounds(mount: Mounted, count: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged, slowest = 0, 0.0
    for number in range(count):
        done, took = _round(mount, number, chance)
        acknowledged += done
        slowest = max(slowest, took)
    print(f"{count} kills, {acknowledged} operations acknowledged, 0 lost, plain again within {slowest:.2f} s")
    assert acknowledged > count


@pytest.fixture
def unmounted(mounted: Callable[..., Mounted], tmp_path: Path) -> Mounted:
    """A cache that is mounted and unmounted by the test, and checked at its end."""
    mount = mounted()
    mount.umount()
    return mount


def test_nothing_acknowledged_is_lost(unmounted: Mounted) -> None:
    """A few kills; the campaign below makes a thousand."""
    _rounds(unmounted, 4, seed=1)


@pytest.mark.campaign
@pytest.mark.timeout(10_800)
def test_nothing_acknowledged_is_lost_in_a_thousand_kills(unmounted: Mounted) -> None:
    """IPFSFS_KILLS says how many."""
    _rounds(unmounted, KILLS, seed=int(time.time()))
