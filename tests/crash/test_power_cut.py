"""Power cuts: what reached the disk is cut at flushes and in between; then the machine starts again.

Everything fsynced through the view is there, no seal vouches for bytes that are not, and the next mount just works.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal
from tests.crash.durable_worker import DurableWorker
from tests.support.filesystems import new_ext4_image
from tests.support.mounted import TREE, Mounted, clear, environment
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import recording_disk
from tests.support.stores import amend_seals

pytestmark = pytest.mark.root
CUTS = int(os.environ.get("IPFSFS_CUTS", "2000"))


def _record(mounted: Callable[..., Mounted], directory: Path, seconds: float, seed: int) -> None:
    """Have a worker work in a view on a disk that is recorded; leaves image, log and story in the directory."""
    with recording_disk(new_ext4_image(directory / "disk.img", 48), directory) as disk:
        (disk.at / "cache").mkdir()
        mount = mounted(disk.at / "cache")
        try:
            worker = DurableWorker(mount.path, disk.position, random.Random(seed))
            worker.prepare(6)
            assert ask(mount.store, seal.Question()).failed == 0
            mount.umount()
            # The files are on disk; that the daemon sees to that would take another 40 seconds.
            amend_seals(mount.path, mount.store, lambda seal: replace(seal, settled=True))
            mount.mount()
            first = disk.position()
            worker.work(seconds)
            mount.umount()
            worker.work(seconds / 10)  # on plain disk, after the view has gone
        finally:
            clear(mount.path)
            wait_until_unused(disk.at)
        mount.finish()
    (directory / "story").write_bytes(pickle.dumps((first, worker.story)))


def _cut(directory: Path, cuts: int, every: int, seed: int) -> dict[str, Any]:
    """Cut the power over and over; returns what came of it, none of which is wrong."""
    apart = ["unshare", "--mount", "--propagation", "private"]
    cut = [sys.executable, "-m", "tests.crash.power", *map(str, (directory, cuts, every, seed))]
    done = subprocess.run([*apart, *cut], env=environment(), cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["wrong"] == []
    assert found["vouching"] > 0, "there were seals to trust"
    return found


def test_what_was_fsynced_is_there_and_no_seal_vouches_for_what_is_not(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """A few cuts; the campaign below makes thousands."""
    _record(mounted, tmp_path, 3, seed=1)
    _cut(tmp_path, 24, 12, seed=1)


@pytest.mark.campaign
@pytest.mark.timeout(36_000)
def test_power_is_cut_thousands_of_times(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """IPFSFS_CUTS says how often."""
    _record(mounted, tmp_path, 30, seed=random.randrange(1 << 30))
    _cut(tmp_path, CUTS, 50, seed=random.randrange(1 << 30))
