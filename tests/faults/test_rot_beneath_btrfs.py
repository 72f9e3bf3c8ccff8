"""Rot made for real beneath Btrfs, which checks what it reads: files are read natively there, and no byte is wrong."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.store.seal import UNIT
from tests.support.mounted import Mounted
from tests.support.rot import Disk, spoilable_disk
from tests.support.rotten import PAGE, WAYS, Rotten, by_pread

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("unasked")]

SIZE: Final = 24 * UNIT + 5000
BAD: Final = (9 * UNIT + 77_777) // PAGE * PAGE
"""Where the page begins that rots: Btrfs has a checksum for each."""
ROT: Final = (BAD + 100, 37)
"""Offset and length."""
_FS_IOC_SETFLAGS: Final = 0x40086602
_NOCOW: Final = 0x00800000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path, 512, "btrfs") as made:
        yield made


def facts(mount: Mounted, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mount.run("why", path, "--json").stdout)
    return found


@cache
def content_of(name: str) -> bytes:
    """No two files have the same, or their blocks would be shared."""
    return random.Random(name).randbytes(SIZE)


def rotten(path: Path) -> Rotten:
    """What can be read of a file after that."""
    return Rotten(content_of(path.name), BAD, BAD + PAGE)


def made(disk: Disk, name: str, *, nocow: bool = False) -> Path:
    """A file by the plain path, on the disk."""
    fd = disk.beneath(name, os.O_RDWR | os.O_CREAT)
    try:
        if nocow:
            fcntl.ioctl(fd, _FS_IOC_SETFLAGS, _NOCOW.to_bytes(8, sys.byteorder))  # chattr +C
        os.write(fd, content_of(name))
        os.fsync(fd)
    finally:
        os.close(fd)
    return disk.cache / name


def test_btrfs_itself_says_of_one_page_that_it_is_bad(disk: Disk) -> None:
    """What is asked of native reads below is what the plain directory gives."""
    for name, way in WAYS.items():
        path = made(disk, name)
        disk.rot(path.name, *ROT)
        way(path, rotten(path))


def test_h51_native_reads_of_rot_are_errors_and_never_wrong_bytes(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """As on plain disk: one page cannot be had, all others are right. `verify` tells of it."""
    mount = mounted(disk.cache)
    for name in WAYS:
        (mount.path / name).write_bytes(content_of(name))
    made(disk, "made beneath")
    assert mount.seal()["failed"] == 0
    for path in mount.path.iterdir():
        told = facts(mount, path)
        assert (told["checked_by"], told["native"]) == ("filesystem", True), told["native_why"]
        disk.rot(path.name, *ROT)
        told = facts(mount, path)
        assert told["native"] is True, told["native_why"]
    for name, way in WAYS.items():
        path = mount.path / name
        way(path, rotten(path))
        by_pread(path, rotten(path))
    path = mount.path / "made beneath"
    by_pread(path, rotten(path))

    mount.expect_logged += [": rot: ", "cannot be read", "Input/output error"]
    verified = mount.run("verify", mount.path, "--json", check=False)
    assert verified.returncode == 4
    wrong = {item["path"] for item in json.loads(verified.stdout)["wrong"]}
    assert wrong == {str(mount.path / name) for name in WAYS} | {str(mount.path / "made beneath")}
    for path in mount.path.iterdir():
        path.unlink()


def test_h51_who_has_it_open_natively_while_it_rots_reads_no_wrong_byte(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(disk.cache)
    path = mount.path / "model"
    content = content_of(path.name)
    path.write_bytes(content)
    mount.seal()
    with path.open("rb", buffering=0) as file:
        told = facts(mount, path)
        assert told["native"] is True, told["native_why"]
        assert os.pread(file.fileno(), PAGE, 0) == content[:PAGE]
        disk.rot("model", *ROT, opened=file.fileno())
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(file.fileno(), PAGE, BAD)
        assert os.pread(file.fileno(), PAGE, BAD + PAGE) == content[BAD + PAGE : BAD + 2 * PAGE]
    by_pread(path, rotten(path))
    path.unlink()


def test_h51_a_file_without_checksums_is_not_read_natively_and_its_rot_is_found(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    """Btrfs would give 37 wrong bytes of it without an error: so each read is checked here, as on ext4."""
    made(disk, "nocow", nocow=True)
    made(disk, "control", nocow=True)
    disk.rot("control", *ROT)
    assert (disk.cache / "control").read_bytes() != content_of("control"), (
        "the plain file has wrong bytes, and no error"
    )
    (disk.cache / "control").unlink()

    mount = mounted(disk.cache)
    path = mount.path / "nocow"
    assert mount.seal()["failed"] == 0
    told = facts(mount, path)
    assert (told["checked_by"], told["native"]) == ("read", False)
    assert "chattr +C" in told["native_why"]
    mount.expect_logged.append("nocow: rot: ")
    disk.rot("nocow", *ROT)
    with path.open("rb", buffering=0) as file:
        for offset, expected in rotten(path).pages():
            if offset // UNIT == BAD // UNIT:
                with pytest.raises(OSError, match="Input/output error"):
                    os.pread(file.fileno(), PAGE, offset)
            else:
                assert os.pread(file.fileno(), PAGE, offset) == expected
    assert [found["path"] for found in mount.status()["rot"]] == ["nocow"]
    path.unlink()
