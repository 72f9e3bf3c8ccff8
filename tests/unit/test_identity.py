"""Whether a file is old enough that every change of it would show."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ipfsfs.plain.identity import SETTLE_NS, Identity

DAY_NS = 86_400 * 10**9


def identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return Identity.of(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("mtime_ns", [0, -DAY_NS, DAY_NS, 10_000 * DAY_NS], ids=["now", "past", "future", "far"])
def test_what_was_only_just_changed_is_fresh_whatever_its_mtime_says(tmp_path: Path, mtime_ns: int) -> None:
    """A second change within the same tick can bring the same mtime by utime(2), and the same ctime by chance."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for _ in range(50):  # a machine that is busy may let 50 ms pass in between
        now = time.time_ns()
        os.utime(path, ns=(now, now + mtime_ns))
        fresh = identity(path).is_fresh()
        if time.time_ns() - now < SETTLE_NS:
            break
    assert fresh
    time.sleep(2 * SETTLE_NS / 1e9)
    assert not identity(path).is_fresh()
