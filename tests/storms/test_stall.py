"""A disk that answers nothing for ten seconds, and then goes on as if nothing had been.

Two kinds: a disk (a loop device whose image lies on a filesystem that stalls, below ext4), and a filesystem that is
itself elsewhere (as NFS is) and knows no reads that do not wait.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.storms import model
from tests.storms.crew import Crew, Worker, crew_of
from tests.support.filesystems import new_ext4_image
from tests.support.mounted import TREE, Mounted, environment
from tests.support.processes import descriptors, eventually, guardians_of

PAGES = 512
"""2 MiB."""
SOON_S = 2.0
"""How long somebody may wait who needs nothing of the disk."""
AFTERWARDS_S = 60.0
"""How soon after the stall everybody must be done."""
_MAP_LOCKED = 0x2000
"""`MAP_LOCKED` of <asm-generic/mman.h>, which Python does not name."""


@dataclass(slots=True)
class Disk:
    """Where the files are, and the switch that makes what is below them stall."""

    root: Path
    switch: Path

    @contextmanager
    def stalled(self, kind: str, seconds: float) -> Iterator[None]:
        """Stall reads, writes or all; goes on when the block ends, which must be after `seconds`."""
        began = time.monotonic()
        self.switch.write_text(kind)
        try:
            yield
            time.sleep(max(0.0, began + seconds - time.monotonic()))
        finally:
            self.switch.write_text("none")


@pytest.fixture(params=["disk", "elsewhere"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A stalling disk with ext4, or a stalling filesystem. Needs root."""
    plain, at, switch = tmp_path / "below", tmp_path / "stalling", tmp_path / "switch"
    for directory in (plain, at):
        directory.mkdir()
    on_image = request.param == "disk"
    switch.write_text("direct" if on_image else "none")
    if on_image:
        new_ext4_image(plain / "image", 256)
    with ExitStack() as undo:
        undo.callback(switch.write_text, "none")
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.storms.stalling", plain, at, switch],
            env=environment(),
            cwd=TREE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        undo.callback(server.wait, 20)
        undo.callback(_unmount, at)
        eventually(lambda: os.path.ismount(at), "the stalling filesystem is there")
        switch.write_text("none")
        root = at
        if on_image:
            root = tmp_path / "ext4"
            root.mkdir()
            subprocess.run(["mount", "-o", "loop", at / "image", root], check=True)
            undo.callback(_unmount, root)
        yield Disk(root, switch)


def _unmount(at: Path) -> None:
    """Unmount; a daemon that is just going may still be there."""
    eventually(
        lambda: subprocess.run(["umount", at], check=False, capture_output=True).returncode == 0, f"{at} is free", 20
    )


@pytest.mark.root
@pytest.mark.parametrize("seconds", [1.0, pytest.param(10.0, marks=pytest.mark.campaign)])
@pytest.mark.timeout(900)
def test_nobody_waits_for_a_stalled_disk_who_does_not_need_it(
    disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path, seconds: float
) -> None:
    """Reads of what is cached go on while the disk reads nothing; and whatever stalled, everything goes on after it."""
    cache, store = disk.root / "cache", tmp_path / "store"
    cache.mkdir()
    for name in ("cached", "uncached"):
        model.write(cache / name, PAGES)
    view = mounted(cache, "--store", str(store))
    view.seal()
    daemon, numbers = view.pid, {}
    for kind in ("read", "write", "all"):
        with crew_of(tmp_path / f"said-{kind}", view) as crew:
            numbers[kind] = _stall(disk, kind, seconds, view, cache, crew)
        assert view.status()["pid"] == daemon
        assert guardians_of(daemon)
    print(f"\na stall of {seconds} s: {json.dumps(numbers)}")
    for path in cache.iterdir():
        assert path.stat().st_size == PAGES * model.PAGE
    view.umount()  # the comparison that `mounted` makes needs extended attributes


def _stall(disk: Disk, kind: str, seconds: float, view: Mounted, cache: Path, crew: Crew) -> dict[str, Any]:
    _forget_beneath(view, cache / "uncached")
    waiting: list[Worker] = []
    with _kept_in_memory(view, cache / "cached"), disk.stalled(kind, seconds):
        if kind != "write":
            waiting.append(crew.start("reader", cache / "uncached", PAGES, 0, "once", name=f"stalled-{kind}"))
            time.sleep(seconds / 5)
        if kind != "read":
            waiting.append(crew.start("writer", cache / f"written-{kind}", PAGES))
        quick = crew.start("reader", cache / "cached", PAGES, seconds / 2)
        if kind == "read":
            crew.wait(AFTERWARDS_S, [quick])  # the stall goes on for as long as that takes
            assert waiting[0].process.poll() is None, "nothing stalled"
    answers = crew.wait(AFTERWARDS_S, [quick, *waiting])
    if kind == "read":
        assert answers[0]["longest_s"] < SOON_S, answers
    return {"cached": answers[0], **{worker.name: answer for worker, answer in zip(waiting, answers[1:], strict=True)}}


def _forget_beneath(view: Mounted, path: Path) -> None:
    """Have the kernel drop a file from the caches of the view and of the filesystem below."""
    with _beneath(view, path) as below:
        os.fsync(below)
        os.posix_fadvise(below, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _kept_in_memory(view: Mounted, path: Path) -> Iterator[None]:
    """Lock a file's pages in the cache of the filesystem below: some machines page out at any moment what nobody maps
    (DAMON's proactive reclaim)."""
    with _beneath(view, path) as below, mmap.mmap(below, 0, mmap.MAP_SHARED | _MAP_LOCKED, mmap.PROT_READ):
        yield


@contextmanager
def _beneath(view: Mounted, path: Path) -> Iterator[int]:
    """A file beneath, opened by the daemon's own way to it, for there is no other while the view is mounted. The view
    forgets what it has cached of it."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        beneath = [
            link
            for link, name in descriptors(view.pid).items()
            if name == str(path) and not os.path.samestat(os.stat(path), os.stat(link))
        ]
        assert len(beneath) == 1
        with beneath[0].open("rb") as below:
            yield below.fileno()
