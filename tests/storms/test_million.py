"""A million files: what the kernel is told of, what the daemon keeps of it, and how long mounting and sealing take.

Aims (docs/performance.md): 80 MiB, and 600 bytes for each file that the kernel knows; gone when the kernel forgets.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.storms.memory import Memory
from tests.support.mounted import Mounted, clear, ipfsfs
from tests.support.processes import eventually

MIB = 1 << 20
BASE_BYTES = 80 * MIB
FOR_EACH_BYTES = 600


def make_repositories(below: Path, files: int, each: int) -> None:
    """Repositories of `each` blobs: every other one empty, the others of a few bytes that no other has."""
    for first in range(0, files, each):
        blobs = below / "hub" / f"models--many--repository-{first:07}" / "blobs"
        blobs.mkdir(parents=True)
        directory = os.open(blobs, os.O_RDONLY | os.O_DIRECTORY)
        for number in range(first, min(first + each, files)):
            fd = os.open(f"{number:040x}", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=directory)
            if number % 2:
                os.write(fd, b"%d" % number)
            os.close(fd)
        os.close(directory)


def scan(root: Path) -> int:
    """As `scan_cache_dir` does: list every repository, and stat each blob."""
    found = 0
    for repository in os.scandir(root / "hub"):
        for blob in os.scandir(os.path.join(repository.path, "blobs")):
            found += 1
            blob.stat()
    return found


def timed(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return round(time.monotonic() - began, 2)


@pytest.mark.root
@pytest.mark.parametrize(
    ("files", "each"),
    [
        (4_000, 500),
        pytest.param(int(os.environ.get("IPFSFS_STORM_FILES", "1000000")), 1000, marks=pytest.mark.campaign),
    ],
)
@pytest.mark.timeout(7200)
def test_many_files(tmp_path: Path, files: int, each: int) -> None:
    """`IPFSFS_STORM_FILES`: how many. Needs root, to have the kernel forget them."""
    cache = tmp_path / "cache"
    numbers: dict[str, Any] = {"files": files, "make_s": timed(lambda: make_repositories(cache, files, each))}
    view = Mounted(cache)
    try:
        numbers["mount_s"] = timed(view.mount)
        began = time.monotonic()
        memory = Memory(view.pid)
        numbers["mib"] = _look(view, files, numbers, memory)
        numbers["walk_and_seal_s"] = _wait_until_all_is_sealed(view, files, began)
        numbers["mib"]["all sealed"] = memory.now_mib()
        numbers["seal_rate_per_s"] = round(files / numbers["walk_and_seal_s"])
        numbers["seal_again_s"] = timed(lambda: ipfsfs("seal", cache, timeout=3600))
        numbers["mib"]["peak"] = memory.peak_mib()
        most = BASE_BYTES / MIB + FOR_EACH_BYTES * files / MIB
        assert memory.peak_mib() <= most, f"over {most:.0f} MiB: {json.dumps(numbers)}"
        status = view.status()
        assert (status["degraded"], status["sealed"]) == ("", files)
        if files >= 100_000:  # made long enough ago to be on disk: settled with the seal, and not kept in mind for it
            assert _is_settled(cache / "hub" / "models--many--repository-0000000" / "blobs" / f"{1:040x}")
        assert view.complaints() == []
        numbers["umount_s"] = timed(view.umount)
    finally:
        clear(cache)
        print(f"\nmany files: {json.dumps(numbers)}")


def _look(view: Mounted, files: int, numbers: dict[str, Any], memory: Memory) -> dict[str, float]:
    """Have the kernel learn of all files, and forget them."""
    mib = {"mounted": memory.now_mib()}
    numbers["find_s"] = timed(lambda: _find(view.path, files))
    mib["after find"] = memory.now_mib()
    known = view.status()["files_known_to_the_kernel"]
    numbers["known"] = known
    numbers["bytes_each"] = round((mib["after find"] - mib["mounted"]) * MIB / known)
    numbers["scan_s"] = timed(lambda: _scan(view.path, files))
    numbers["scan_again_s"] = timed(lambda: _scan(view.path, files))
    mib["after scans"] = memory.now_mib()
    known = view.status()["files_known_to_the_kernel"]
    _drop_caches()
    eventually(lambda: view.status()["files_known_to_the_kernel"] < files / 10, "the kernel and we have forgotten", 120)
    numbers["known_after_drop"] = view.status()["files_known_to_the_kernel"]
    mib["after drop"] = memory.now_mib()
    return mib


def _find(root: Path, files: int) -> None:
    found = subprocess.run(["find", root, "-type", "f", "-printf", "x"], check=True, capture_output=True, timeout=1800)
    assert len(found.stdout) == files


def _scan(root: Path, files: int) -> None:
    assert scan(root) == files


def _drop_caches() -> None:
    """Have the kernel let go of names and inodes that nobody uses (2: not of pages)."""
    Path("/proc/sys/vm/drop_caches").write_text("2")


def _wait_until_all_is_sealed(view: Mounted, files: int, began: float) -> float:
    deadline = time.monotonic() + 120 + files / 150
    while not view.status()["looked_at_everything"]:
        assert time.monotonic() < deadline, f"not all sealed: {view.status()}"
        time.sleep(0.2 if files < 10_000 else 2.0)
    return round(time.monotonic() - began, 1)


def _is_settled(path: Path) -> bool:
    settled: bool = json.loads(ipfsfs("why", path, "--json").stdout)["settled"]
    return settled
