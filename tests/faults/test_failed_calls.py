"""Calls that fail: a file that was not changed by them keeps its seal, and no program is accused."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import cid_of, download
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted
from tests.support.processes import eventually

pytestmark = pytest.mark.root

DATA: Final = bytes(range(256)) * 1024


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """The file beneath cannot be written, by root neither."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def _open_and_truncate(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def _open_to_read_and_truncate(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def _truncate(path: Path) -> None:
    os.truncate(path, 5)


@pytest.mark.parametrize("call", [_open_and_truncate, _open_to_read_and_truncate, _truncate])
def test_a_blob_that_cannot_be_cut_keeps_its_seal_and_nobody_is_accused(
    tmp_path: Path, mounted: Callable[..., Mounted], call: Callable[[Path], None]
) -> None:
    (tmp_path / "cache").mkdir()
    with _bound(tmp_path / "cache", tmp_path / "beneath") as beneath:
        mount = mounted(tmp_path / "cache")
        blob = download(mount, "models--a--b", hashlib.sha256(DATA).hexdigest(), DATA)
        mount.seal()
        sealed = cid_of(blob)
        with immutable(beneath / blob.relative_to(mount.path)):
            mount.seal()  # the flag sets a new ctime
            with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
                call(blob)
            assert blob.read_bytes() == DATA
            assert cid_of(blob) == sealed
        status = mount.status()
        assert (status["broken_promises"], status["quarantine"]) == ([], [])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 32 MiB."""
    with mounted_image(new_ext4_image(tmp_path / "image", 32), tmp_path / "disk") as at:
        yield at


def test_an_append_to_a_full_disk_leaves_the_file_to_be_sealed_again(
    tmp_path: Path, disk: Path, mounted: Callable[..., Mounted]
) -> None:
    (disk / "cache").mkdir()
    mount = mounted(disk / "cache", "--store", str(tmp_path / "store"))
    blob = download(mount, "models--a--b", hashlib.sha256(DATA).hexdigest(), DATA)
    mount.seal()
    sealed = cid_of(blob)
    for size in (1 << 20, 4096):
        _fill(mount.path / "filler", size)
    fd = os.open(blob, os.O_WRONLY | os.O_APPEND)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.write(fd, b"y" * 8192)
    os.close(fd)
    os.unlink(mount.path / "filler")
    assert blob.read_bytes() == DATA
    eventually(lambda: cid_of(blob) == sealed, "it is sealed again")
    status = mount.status()
    assert (status["broken_promises"], status["quarantine"]) == ([], [])


def _fill(path: Path, size: int) -> None:
    """Append blocks of a size until the disk is full."""
    with path.open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(size))


@contextmanager
def _bound(directory: Path, at: Path) -> Iterator[Path]:
    """A second way to a directory, which stays where it is when a view is mounted over the first."""
    at.mkdir()
    subprocess.run(["mount", "--bind", directory, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)
