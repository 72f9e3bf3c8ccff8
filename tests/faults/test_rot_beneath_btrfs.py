"""Rot made for real beneath Btrfs, which checks what it reads: files are read natively there, and no byte is wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.store.seal import UNIT
from tests.support.mounted import Mounted
from tests.support.rot import Disk, spoilable_disk

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("unasked")]

PAGE: Final = mmap.PAGESIZE
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


def pages(path: Path) -> Iterator[tuple[int, bytes]]:
    content = content_of(path.name)
    for offset in range(0, SIZE, PAGE):
        yield offset, content[offset : offset + PAGE]


def is_eio(error: OSError) -> bool:
    if error.errno != errno.EIO:
        raise error
    return True


def by_pread(path: Path) -> None:
    bad = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset, expected in pages(path):
            try:
                assert os.pread(fd, PAGE, offset) == expected
            except OSError as error:
                bad += [offset] * is_eio(error)
    finally:
        os.close(fd)
    assert bad == [BAD]


def by_read(path: Path) -> None:
    """In large steps, up to the error, and from behind it on."""
    seen = bytearray()
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="Input/output error"):
            read_on(fd, seen)
        assert seen == content_of(path.name)[:BAD]
        os.lseek(fd, BAD + PAGE, os.SEEK_SET)
        seen.clear()
        read_on(fd, seen)
        assert seen == content_of(path.name)[BAD + PAGE :]
    finally:
        os.close(fd)


def read_on(fd: int, seen: bytearray) -> None:
    while data := os.read(fd, 300_000):
        seen += data


def by_mmap(path: Path) -> None:
    """In children: a page that cannot be had is SIGBUS."""
    touch = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)\n"
    spans = "".join(f"sys.stdout.buffer.write(m[{a}:{b}])\n" for a, b in ((0, BAD), (BAD + PAGE, SIZE)))
    good = subprocess.run([sys.executable, "-c", touch + spans, path], capture_output=True, check=False)
    assert good.returncode == 0, good.stderr
    content = content_of(path.name)
    assert good.stdout == content[:BAD] + content[BAD + PAGE :]
    for offset in (BAD, BAD + PAGE - 1):
        bad = subprocess.run([sys.executable, "-c", touch + f"m[{offset}]", path], capture_output=True, check=False)
        assert bad.returncode == -signal.SIGBUS


def by_sendfile(path: Path) -> None:
    bad = []
    fd = os.open(path, os.O_RDONLY)
    ours, theirs = socket.socketpair()
    try:
        for offset, expected in pages(path):
            try:
                assert os.sendfile(theirs.fileno(), fd, offset, PAGE) == len(expected)
            except OSError as error:
                bad += [offset] * is_eio(error)
            else:
                assert ours.recv(2 * PAGE, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == expected
    finally:
        os.close(fd)
        ours.close()
        theirs.close()
    assert bad == [BAD]


WAYS: Final = (by_pread, by_read, by_mmap, by_sendfile)


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
    for way in WAYS:
        path = made(disk, way.__name__)
        disk.rot(path.name, *ROT)
        way(path)


def test_h51_native_reads_of_rot_are_errors_and_never_wrong_bytes(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """As on plain disk: one page cannot be had, all others are right. `verify` tells of it."""
    mount = mounted(disk.cache)
    for way in WAYS:
        (mount.path / way.__name__).write_bytes(content_of(way.__name__))
    made(disk, "made beneath")
    assert mount.seal()["failed"] == 0
    for path in mount.path.iterdir():
        told = facts(mount, path)
        assert (told["checked_by"], told["native"]) == ("filesystem", True), told["native_why"]
        disk.rot(path.name, *ROT)
        told = facts(mount, path)
        assert told["native"] is True, told["native_why"]
    for way in WAYS:
        way(mount.path / way.__name__)
        by_pread(mount.path / way.__name__)
    by_pread(mount.path / "made beneath")

    mount.expect_logged += [": rot: ", "cannot be read", "Input/output error"]
    verified = mount.run("verify", mount.path, "--json", check=False)
    assert verified.returncode == 4
    wrong = {item["path"] for item in json.loads(verified.stdout)["wrong"]}
    assert wrong == {str(mount.path / way.__name__) for way in WAYS} | {str(mount.path / "made beneath")}
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
    by_pread(path)
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
        for offset, expected in pages(path):
            if offset // UNIT == BAD // UNIT:
                with pytest.raises(OSError, match="Input/output error"):
                    os.pread(file.fileno(), PAGE, offset)
            else:
                assert os.pread(file.fileno(), PAGE, offset) == expected
    assert [found["path"] for found in mount.status()["rot"]] == ["nocow"]
    path.unlink()
