"""A disk that fills up while downloads and seals go on, and is freed again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storms.crew import crew_of
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted

BLOCK = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An ext4 of 48 MiB that holds the cache and the store. Needs root."""
    with mounted_image(new_ext4_image(tmp_path / "image", 48), tmp_path / "disk") as root:
        yield root


def _fill(blobs: Path, limit: int = 1000) -> tuple[dict[Path, str], OSError | None]:
    """Download until the disk is full: what was completed (with its sha256), and what ended it."""
    done: dict[Path, str] = {}
    for number in range(limit):
        data = os.urandom(BLOCK - 7 * number)
        name = blobs / hashlib.sha256(data).hexdigest()
        unfinished = name.with_suffix(".incomplete")
        try:
            with unfinished.open("wb", buffering=0) as file:
                file.write(data[: BLOCK // 2])
                file.write(data[BLOCK // 2 :])
                os.fsync(file.fileno())
                whole = os.fstat(file.fileno()).st_size == len(data)
            if not whole:  # written in part, as on plain disk; the next write would say why
                raise OSError(errno.ENOSPC, "a short write")
            os.rename(unfinished, name)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            return done, error
        done[name] = hashlib.sha256(data).hexdigest()
    return done, None


@pytest.mark.root
@pytest.mark.parametrize("seconds", [0.0, pytest.param(240.0, marks=pytest.mark.campaign)])
@pytest.mark.timeout(900)
def test_a_full_disk_costs_only_what_it_costs_on_plain_disk(
    small_disk: Path, mounted: Callable[..., Mounted], tmp_path: Path, seconds: float
) -> None:
    """Workers get ENOSPC and nothing else; what was completed is right; without an index the view goes on."""
    cache = small_disk / "cache"
    blobs = cache / "hub" / "models--full--disk" / "blobs"
    blobs.mkdir(parents=True)
    view = mounted(cache)
    view.expect_logged += [r"full|No space left|goes on without checks"]
    until = time.monotonic() + seconds
    numbers: dict[str, Any] = {"rounds": 0, "files": 0, "degraded": 0}
    while not numbers["rounds"] or time.monotonic() < until:
        with crew_of(tmp_path / f"said-{numbers['rounds']}", view) as crew:
            sealing = crew.start("busy", "seal-full", cache, 3, 1)
            done, error = _fill(blobs)
            assert error is not None
            assert error.errno == errno.ENOSPC, error
            crew.wait(120, [sealing])
        for path, expected in done.items():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
        status = view.status()
        assert (status["rot"], status["broken_promises"]) == ([], [])
        numbers["degraded"] += bool(status["degraded"])
        for path in done:
            path.unlink()
        again, error = _fill(blobs, 5)
        assert error is None, "room again, and it is not used"
        numbers["rounds"] += 1
        numbers["files"] += len(done) + len(again)
        assert view.seal()["failed"] == 0
        assert view.status()["degraded"] == ""
        assert view.run("verify", cache).returncode == 0
        for path in again:
            path.unlink()
    print(f"\na full disk: {json.dumps(numbers)}")
    subprocess.run(["sync", "-f", cache], check=True)
