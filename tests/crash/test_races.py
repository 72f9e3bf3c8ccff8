"""Kill, mount and unmount by several processes at once, with workers coming and going, on one processor."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import TREE, UNASKED_END, Mounted, environment
from tests.support.processes import beside, eventually

RACES = int(os.environ.get("IPFSFS_RACES", "500"))
_RACER = """
import os, random, signal, subprocess, sys, time
path, seed, count, log = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
chance = random.Random(seed)
for _ in range(count):
    what = chance.choice(["mount", "mount", "umount", "lazy", "kill", "work"])
    if what in ("mount", "umount", "lazy"):
        words = {"mount": ["mount", "--force"], "umount": ["umount"], "lazy": ["umount", "--lazy"]}[what] + [path]
        done = subprocess.run([sys.executable, "-m", "ipfsfs", *words], capture_output=True, text=True, timeout=120)
        if "Traceback" in done.stderr:
            open(log, "a").write(f"{words}: {done.stderr}\\n")
    elif what == "kill":
        found = subprocess.run(["pgrep", "-f", f"ipfsfs.daemon .*{path}\\""], capture_output=True, text=True)
        for pid in found.stdout.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
    else:
        try:
            name = f"{path}/work{seed}-{chance.randrange(1000)}"
            with open(name, "wb") as file:
                file.write(b"x" * 10_000)
            time.sleep(chance.uniform(0, 0.3))
            os.unlink(name)
        except OSError:
            pass  # the daemon was killed under it
"""


def _race(mount: Mounted, races: int, racers: int, tmp_path: Path) -> None:
    path = mount.path
    mount.umount()
    (path / "kept").write_bytes(b"kept" * 100_000)
    log = tmp_path / "tracebacks"
    began = time.monotonic()
    running = [
        subprocess.Popen(
            ["taskset", "-c", "0", sys.executable, "-c", _RACER, path, str(seed), str(races // racers), log],
            env=environment(),
            cwd=TREE,
        )
        for seed in range(racers)
    ]
    try:
        for racer in running:
            assert racer.wait(60 + 20 * races) == 0
    finally:
        for racer in running:
            racer.kill()
    mount.run("umount", "--lazy", path)
    assert not log.exists(), log.read_text()
    assert not os.path.ismount(path)
    assert (path / "kept").read_bytes() == b"kept" * 100_000
    eventually(lambda: not _ours(path), "no process of a view is left", 15)
    mount.mount()
    assert (path / "kept").read_bytes() == b"kept" * 100_000
    print(f"{races} races by {racers} processes in {time.monotonic() - began:.0f} s: none stuck, none orphaned")


def _ours(path: Path) -> list[int]:
    return [
        pid
        for pid in [*beside("daemon"), *beside("daemon.guardian")]
        if str(path) in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    ]


@pytest.fixture
def racing(mounted: Callable[..., Mounted]) -> Mounted:
    """A mount that others may take away, kill and mount again; what daemons log about that is expected."""
    mount = mounted()
    mount.expect_logged += ["files are still open", "their users lose them now", UNASKED_END]
    return mount


def test_a_race_leaves_nothing_stuck(racing: Mounted, tmp_path: Path) -> None:
    """A short one; the campaign below has five hundred."""
    _race(racing, 16, 4, tmp_path)


@pytest.mark.campaign
@pytest.mark.timeout(10_800)
def test_five_hundred_races_leave_nothing_stuck(racing: Mounted, tmp_path: Path) -> None:
    """IPFSFS_RACES says how many."""
    _race(racing, RACES, 5, tmp_path)
