"""Files that are read natively where the filesystem checks nothing: rot is reported within the interval."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.plain import syscalls
from ipfsfs.store.seal import UNIT
from tests.support.failing_disk import failing_disk
from tests.support.mounted import Mounted
from tests.support.native import read_by_the_kernel
from tests.support.processes import eventually, sealers_of, stopped
from tests.support.rot import Disk, spoilable_disk

pytestmark = pytest.mark.root

SIZE: Final = 24 * UNIT + 5000
CONTENT: Final = random.Random(3).randbytes(SIZE)
OFTEN: Final = ("--check", "native", "--scrub", "2s")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


def scrubbing(mount: Mounted) -> dict[str, Any]:
    """What `status` says of it."""
    found: dict[str, Any] = mount.status()["scrubbing"]
    return found


def used(mount: Mounted, name: str = "model") -> Path:
    """A file that is sealed, vouched for since all of it was read for that, and read by the kernel."""
    path, others = mount.path / name, scrubbing(mount)["vouched_for"]
    path.write_bytes(CONTENT)
    assert mount.seal()["failed"] == 0
    eventually(lambda: path.read_bytes() and scrubbing(mount)["vouched_for"] > others, f"{name} is vouched for")
    assert read_by_the_kernel(mount, path)
    return path


def is_in_memory(disk: Disk, name: str) -> bool:
    """Whether the page cache has all whole pages of a file."""
    fd = disk.beneath(name)
    try:
        return all(syscalls.resident_pages(fd, 0, SIZE - SIZE % mmap.PAGESIZE))
    finally:
        os.close(fd)


def test_rot_is_reported_within_the_interval_though_nothing_reads_the_file(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    """Even while the page cache has the right bytes, all of which it keeps."""
    mount = mounted(disk.cache, *OFTEN)
    for name in ("rotten", "sound"):
        used(mount, name)
    eventually(lambda: scrubbing(mount)["vouched_for"] == 2, "both are vouched for")
    os.sync()
    mount.expect_logged += ["rotten: rot: "]
    disk.rot_beneath("rotten", 9 * UNIT + 77)
    eventually(lambda: mount.status()["rot"], "the rot is reported")
    assert is_in_memory(disk, "rotten")
    assert is_in_memory(disk, "sound")
    time.sleep(2.5)
    (found,) = mount.status()["rot"]
    assert (found["kind"], found["path"]) == ("rot", "rotten")
    assert found["detail"] == f"bytes from {9 * UNIT} on"
    told = [line for line in mount.log().splitlines() if " ERROR " in line]
    assert len(told) == 1, "once, however often it is found"
    assert "ipfsfs restore " in told[0]
    eventually(lambda: read_by_the_kernel(mount, mount.path / "sound"), "the other one still is vouched for")
    assert not read_by_the_kernel(mount, mount.path / "rotten"), "its reads are checked now"

    disk.forget("rotten")
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / "rotten").read_bytes()
    assert (mount.path / "sound").read_bytes() == CONTENT
    (mount.path / "rotten").unlink()


def test_what_was_found_damaged_while_it_is_open_natively_is_not_opened_again(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    """All handles of a file are of one kind, and of this kind nobody compares what is read."""
    mount = mounted(disk.cache, *OFTEN)
    path = used(mount)
    os.sync()
    mount.expect_logged += ["model: rot: "]
    with path.open("rb"):
        disk.rot_beneath("model", 9 * UNIT + 77)
        eventually(lambda: mount.status()["rot"], "the rot is reported")
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
    with path.open("rb") as checked:
        assert checked.read(UNIT) == CONTENT[:UNIT], "the rest of it is readable, once the daemon serves it"
    path.unlink()


def test_a_sector_that_cannot_be_read_is_reported_within_the_interval(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    with failing_disk(tmp_path) as disk:
        mount = mounted(disk.cache, *OFTEN)
        used(mount)
        mount.expect_logged += ["model: unreadable: "]
        disk.fail("model", 5 * UNIT)
        eventually(lambda: mount.status()["rot"], "it is reported")
        (found,) = mount.status()["rot"]
        assert (found["kind"], found["path"]) == ("unreadable", "model")
        assert scrubbing(mount)["vouched_for"] == 0
        (mount.path / "model").unlink()
        mount.umount()


def test_what_was_written_is_vouched_for_once_it_is_sealed_again(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, "--check", "native")
    path = used(mount)
    assert scrubbing(mount)["vouched_for"] == 1
    with path.open("r+b") as file:
        file.write(b"X")
        file.flush()
        assert scrubbing(mount)["vouched_for"] == 0
        time.sleep(1)
        assert scrubbing(mount)["vouched_for"] == 0, "it is open for writing"
    mount.seal()
    eventually(lambda: path.read_bytes() and scrubbing(mount)["vouched_for"] == 1, "it is sealed again")
    path.unlink()
    eventually(lambda: scrubbing(mount)["vouched_for"] == 0, "it is gone")


def test_while_the_sealer_does_nothing_no_file_stays_vouched_for(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, *OFTEN)
    path = used(mount)
    eventually(lambda: (scrubbing(mount)["up_to_date_at"] or 0) > 0, "it was verified again")
    with stopped(sealers_of(mount.pid, "polite")):
        eventually(lambda: scrubbing(mount)["vouched_for"] == 0, "not verified in time")
        assert not read_by_the_kernel(mount, path)
    eventually(lambda: scrubbing(mount)["vouched_for"] == 1, "verified at last")
    mount.expect_logged += ["model: not verified: ", "sealer"]
    (sealer,) = sealers_of(mount.pid, "polite")
    os.kill(sealer, signal.SIGKILL)
    before = scrubbing(mount)["up_to_date_at"]
    eventually(lambda: scrubbing(mount)["up_to_date_at"] > before + 1, "by another sealer")
    eventually(lambda: scrubbing(mount)["vouched_for"] == 1, "it is vouched for again")


def test_what_was_sealed_before_the_mount_is_not_vouched_for(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, "--check", "native")
    path = used(mount)
    mount.remount()
    mount.seal()
    assert scrubbing(mount) == {"vouched_for": 0, "due": 0, "up_to_date_at": None}
    with path.open("rb") as early:
        assert early.read() == CONTENT
        eventually(lambda: scrubbing(mount)["vouched_for"] == 1, "it is verified")
    assert read_by_the_kernel(mount, path)
    found = scrubbing(mount)
    assert found["due"] == 0
    assert abs(found["up_to_date_at"] - time.time()) < 600


@pytest.mark.usefixtures("unasked")
def test_status_and_mount_say_how_files_are_checked(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, "--check", "native", "--scrub", "36h")
    used(mount)
    assert "1 file verified within the last 36h" in mount.run("status", mount.path).stdout
    again = mount.run("mount", mount.path, "--check", "read", "--scrub", "7d").stdout
    assert "--check read is not in force (in force: native)." in again
    assert "--scrub 7d is not in force (in force: 36h)." in again
    mount.umount()
    mount.arguments = ("--scrub", "36h")
    said = mount.run("mount", mount.path, *mount.arguments)
    mount.pid = mount.status()["pid"]
    assert "--scrub does nothing without --check native" in said.stderr
    assert mount.status()["scrubbing"] is None
    assert "scrubbing" not in mount.run("status", mount.path).stdout


@pytest.mark.usefixtures("unasked")
def test_nothing_of_it_happens_where_every_read_is_checked(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, "--scrub", "1s")
    (mount.path / "model").write_bytes(CONTENT)
    mount.seal()
    os.sync()
    with (mount.path / "model").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == CONTENT
        disk.rot_beneath("model", UNIT)
        time.sleep(2.5)
        assert mount.status()["rot"] == []
    (mount.path / "model").unlink()
