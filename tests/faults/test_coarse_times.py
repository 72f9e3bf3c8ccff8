"""Filesystems that keep whole seconds, such as ext4 with inodes of 128 bytes: a file may change within a second and not
show it. Nothing that was learnt of it in that second may be trusted later (H16, H22)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import why
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted
from tests.support.processes import eventually

pytestmark = pytest.mark.root

BEFORE: Final = b"before" * 50_000
AFTER: Final = b"after!" * 50_000
NAMES: Final = tuple(f"file{number}" for number in range(6))
LARGE: Final = 10
"""Times the above: the sha2-256 of so many bytes does not come with their leaves."""
PROMISED: Final = hashlib.sha256(LARGE * BEFORE).hexdigest()


@pytest.fixture
def coarse(tmp_path: Path) -> Iterator[Path]:
    """An empty directory on such a filesystem."""
    with mounted_image(new_ext4_image(tmp_path / "image", 64, "-I", "128"), tmp_path / "disk") as disk:
        cache = disk / "cache"
        cache.mkdir()
        assert cache.stat().st_ctime_ns % 1_000_000_000 == 0
        yield cache


@pytest.fixture
def beneath(coarse: Path) -> Iterator[int]:
    """The same directory, opened before it is mounted."""
    fd = os.open(coarse, os.O_RDONLY)
    yield fd
    os.close(fd)


def at_the_start_of_a_second() -> float:
    """Returns when the next second begins, once it has begun."""
    start = float(int(time.time()) + 1)
    time.sleep(start - time.time() + 0.01)
    return start


def write(beneath: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY, dir_fd=beneath)
    os.pwrite(fd, data, 0)
    os.close(fd)


def is_sealed(mount: Mounted, name: str) -> bool:
    return ask(mount.store, why.Question(name.encode())).sealed


def test_h16_what_is_written_beneath_in_the_second_of_a_seal_is_served(
    coarse: Path, beneath: int, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(coarse)
    start = at_the_start_of_a_second()
    for name in NAMES:
        (mount.path / name).write_bytes(BEFORE)
    while time.time() < start + 0.8 and not all(is_sealed(mount, name) for name in NAMES):
        time.sleep(0.02)
    for name in NAMES:
        write(beneath, name, AFTER)
    for name in NAMES:
        assert (mount.path / name).read_bytes() == AFTER, name
    for name in NAMES:
        eventually(lambda name=name: is_sealed(mount, name), "it is sealed when the second is over")  # type: ignore[misc]
        assert (mount.path / name).read_bytes() == AFTER, name
    assert mount.status()["rot"] == []


def test_who_waits_for_a_seal_waits_until_the_second_is_over(coarse: Path, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(coarse)
    at_the_start_of_a_second()
    (mount.path / "file").write_bytes(BEFORE)
    assert mount.seal()["failed"] == 0
    assert is_sealed(mount, "file")


def test_h22_what_the_kernel_read_in_a_second_is_not_what_it_serves_later(
    coarse: Path, beneath: int, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(coarse)
    at_the_start_of_a_second()
    (mount.path / "file").write_bytes(BEFORE)
    assert (mount.path / "file").read_bytes() == BEFORE
    write(beneath, "file", AFTER)
    assert (mount.path / "file").read_bytes() == AFTER


def test_h22_a_listing_of_a_second_is_not_what_is_listed_later(
    coarse: Path, beneath: int, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(coarse)
    at_the_start_of_a_second()
    (mount.path / "first").touch()
    time.sleep(0.1)  # longer than a directory has to rest where times are fine
    assert os.listdir(mount.path) == ["first"]
    os.close(os.open("second", os.O_WRONLY | os.O_CREAT, dir_fd=beneath))
    assert sorted(os.listdir(mount.path)) == ["first", "second"]


def test_a_digest_of_a_download_is_not_kept_over_the_second_of_its_rename(
    coarse: Path, beneath: int, mounted: Callable[..., Mounted]
) -> None:
    """The seal would say of bytes that were written since that they are what the name promises."""
    mount = mounted(coarse)
    blobs = mount.path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    at_the_start_of_a_second()
    (blobs / "x.incomplete").write_bytes(LARGE * BEFORE)
    (blobs / "x.incomplete").rename(blobs / PROMISED)
    name = f"models--org--name/blobs/{PROMISED}"
    write(beneath, name, LARGE * AFTER)
    eventually(lambda: is_sealed(mount, name), "it is sealed")
    assert ask(mount.store, why.Question(name.encode())).sha256 == hashlib.sha256(LARGE * AFTER).hexdigest()
