"""What tells that a file is still the same, and whether it is old enough that every change of it would show."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ipfsfs.identity import Identity
from ipfsfs.plain.identities import TICK_NS, granularity_ns, hidden_for_ns, hides_changes, identity_of

DAY_NS = 86_400 * 10**9


def identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
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
        fresh = hides_changes(identity(path).ctime_ns)
        if time.time_ns() - now < TICK_NS:
            break
    assert fresh
    time.sleep(2 * TICK_NS / 1e9)
    assert not hides_changes(identity(path).ctime_ns)


_SECOND_NS = 10**9


@pytest.mark.parametrize(
    ("time_ns", "step_ns"),
    [
        (1_700_000_000_123_456_789, 1),  # ext4, XFS, Btrfs, tmpfs
        (1_700_000_000_123_456_700, 100),  # NTFS
        (1_700_000_000_120_000_000, 10_000_000),  # exFAT
        (1_700_000_001 * _SECOND_NS, _SECOND_NS),  # ext4 with inodes of 128 bytes
        (1_700_000_000 * _SECOND_NS, 2 * _SECOND_NS),  # the same, or FAT
    ],
)
def test_one_time_tells_how_coarse_the_clock_may_be(time_ns: int, step_ns: int) -> None:
    assert granularity_ns(time_ns) == step_ns


@pytest.mark.parametrize("step_ns", [1, 100, 10_000_000, _SECOND_NS, 2 * _SECOND_NS])
@pytest.mark.parametrize("ahead_ns", [0, 1, 7_654_321, 999_999_999])
def test_a_time_hides_changes_until_a_clock_of_its_step_has_ticked(
    monkeypatch: pytest.MonkeyPatch, step_ns: int, ahead_ns: int
) -> None:
    """Whenever a second change comes: if it is given the same time, the first time was known to hide it."""
    first = 1_700_000_001_234_567_891 + ahead_ns
    given = first - first % step_ns
    for later_ns in (0, TICK_NS // 5, step_ns // 3, step_ns - 1, step_ns, step_ns + TICK_NS // 5):
        second = first + later_ns
        clock = second - TICK_NS // 5  # the kernel's, which may be a tick behind
        if clock - clock % step_ns == given:
            monkeypatch.setattr(time, "time_ns", lambda now=second: now)
            assert hides_changes(given)
    monkeypatch.setattr(time, "time_ns", lambda: first)
    rest_ns = hidden_for_ns(given)
    monkeypatch.setattr(time, "time_ns", lambda: first + rest_ns)
    assert not hides_changes(given)


def test_a_time_far_ahead_is_of_a_clock_that_was_set_back_and_hides_nothing() -> None:
    assert not hides_changes(time.time_ns() + DAY_NS)


def test_agrees_with_the_file_until_anything_of_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    st = file.stat()
    identity = Identity.with_stat(st, 0)
    assert identity.agrees(os.stat(file))
    for field in ("dev", "ino", "size", "mtime_ns", "ctime_ns"):
        assert not replace(identity, **{field: getattr(identity, field) + 1}).agrees(st), field


def test_a_new_ctime_is_carried_over_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    identity = Identity.with_stat(file.stat(), 1)
    assert replace(identity, ctime_ns=5).after(file.stat()) == identity
    assert replace(identity, mtime_ns=5).after(file.stat()) is None
