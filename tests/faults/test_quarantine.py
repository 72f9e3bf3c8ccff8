"""The quarantine: what goes there, whose it is, how much of it there may be, and what becomes of a file that it does
not take. No file is ever removed that is not kept."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import refuses
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_image
from tests.support.mounted import Mounted
from tests.support.processes import eventually, wait_for_guardian
from tests.support.promised import NAME, RIGHT, WRONG, blobs, download, quarantined, status
from tests.support.users import User

pytestmark = pytest.mark.filesystem

OTHER = 1234


@contextmanager
def immutable(directory: Path) -> Iterator[None]:
    """A directory in which nothing can be made while the block runs."""
    subprocess.run(["chattr", "+i", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", directory], check=True)


def promised(directory: Path, size: int, seed: int) -> Path:
    """A right blob of random bytes."""
    data = random.Random(seed).randbytes(size)
    return download(directory, data, hashlib.sha256(data).hexdigest())


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_another_user_overwrites_is_kept_once_and_counts_as_theirs(
    mounted: Callable[..., Mounted], tmp_path: Path, kind: str
) -> None:
    """By a copy and by a reflink. What they write over it after that never kept a promise, and is not kept."""
    image = new_image(tmp_path / "image", kind, 512)
    with mounted_image(image, tmp_path / "disk") as disk:
        disk.chmod(0o755)
        (disk / "cache").mkdir()
        mount = mounted(disk / "cache", "--allow-other", "--store", str(disk / "store"))
        mount.expect_logged.append("broken promise: written in place")
        path = promised(blobs(mount), 3_000_000, 1)
        before = path.read_bytes()
        os.chown(path, OTHER, OTHER)
        mount.seal()
        # By a descriptor that root opened: pytest's directories are closed to others.
        with path.open("r+b", buffering=0) as file:
            for number in range(4):
                file.write(b"%d" % number)
                file.flush()
        for number in range(3):
            mount.seal()
            path.write_bytes(before[:1000] + b"%d" % number)
        (kept,) = quarantined(mount)
        stored = mount.store / "quarantine" / kept
        assert stored.read_bytes() == before
        assert (stored.stat().st_uid, stored.stat().st_gid) == (OTHER, OTHER), "for the filesystem's quota"
        assert mount.store.stat().st_mode & 0o077 == 0, "others do not reach it, be it their own"
        assert not stored.stat().st_mode & 0o077
        mount.umount()
        wait_for_guardian(mount.pid)
        mount.finish()


@pytest.mark.root
def test_a_user_who_may_write_to_a_blob_makes_the_store_grow_once(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    (open_to_all / "cache").mkdir()
    mount = mounted(open_to_all / "cache", "--allow-other")
    mount.expect_logged.append("broken promise: written in place")
    directory = blobs(mount)
    path = promised(directory, 1_000_000, 2)
    for one in (path, directory):
        os.chown(one, OTHER, OTHER)
    for _ in range(4):
        mount.seal()
        assert User(OTHER).run(f"do(lambda: os.pwrite(os.open({path.name!r}, os.O_WRONLY), b'x', 0))", directory) == [1]
    items = status(mount)["quarantine"]
    assert [item["size"] for item in items] == [1_000_000]


def test_the_oldest_goes_when_the_limit_is_reached_and_status_says_both(mounted: Callable[..., Mounted]) -> None:
    mount = mounted(None, "--quarantine-size", "1MB")
    mount.expect_logged += ["broken promise: written in place", "is removed from the quarantine"]
    paths = [promised(blobs(mount), 600_000, seed) for seed in (3, 4)]
    mount.seal()
    for path in paths:
        overwrite(path)
        said = status(mount)
        (kept,) = said["quarantine"]
        assert kept["note"]["path"].endswith(path.name)
        assert 600_000 < said["quarantine_size"] < said["quarantine_limit"] == 1_000_000
    text = mount.run("status", mount.path, check=False).stdout
    assert "1 file, " in text
    assert " of 1.0 MB" in text

    mount.arguments = ("--quarantine-size", "0")
    mount.remount()
    assert quarantined(mount) == [], "a lower limit holds from the next mount on"


def test_what_is_larger_than_the_limit_is_not_kept_or_stays_where_it_is(mounted: Callable[..., Mounted]) -> None:
    """The write goes on, and what was renamed to a name that it breaks is not removed."""
    mount = mounted(None, "--quarantine-size", "100kB")
    mount.expect_logged += [
        "written in place; the old content is not kept",
        "since it could not be put into quarantine",
    ]
    directory = blobs(mount)
    path = promised(directory, 200_000, 5)
    mount.seal()
    overwrite(path)
    assert path.read_bytes()[:1] == b"!"
    refuses(errno.EIO, lambda: download(directory, WRONG))
    (hidden,) = set(os.listdir(directory)) - {path.name}
    assert (directory / hidden).read_bytes() == WRONG
    assert quarantined(mount) == []


def set_aside(mount: Mounted) -> dict[str, Any]:
    """The one file that lies under a hidden name."""
    (found,) = status(mount)["withdrawn"]
    assert isinstance(found, dict)
    return found


@pytest.mark.root
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same filesystem", "another filesystem"])
def test_a_file_that_cannot_be_put_into_quarantine_is_renamed_and_listed(
    mounted: Callable[..., Mounted], tmp_path: Path, elsewhere: bool
) -> None:
    """It may be the only copy there is. The client meets the same as ever: EIO, and nothing to copy."""
    with mounted_image(new_image(tmp_path / "image", "ext4", 64), tmp_path / "disk") as disk:
        cache, store = (tmp_path if elsewhere else disk) / "cache", disk / "store"
        cache.mkdir()
        mount = mounted(cache, "--store", str(store))
        mount.expect_logged.append("since it could not be put into quarantine")
        directory = blobs(mount)
        mine = mount.path / "the only copy"
        mine.write_bytes(WRONG)
        with immutable(store / "quarantine"):
            refuses(errno.EIO, lambda: mine.rename(directory / NAME))
            refuses(errno.ENOENT, lambda: shutil.copy(mine, directory / NAME))
        found = set_aside(mount)
        hidden = mount.path / found["path"]
        assert hidden.parent == mount.path
        assert hidden.read_bytes() == WRONG
        assert os.listdir(directory) == []
        mine.write_bytes(b"something else, at once")
        assert hidden.read_bytes() == WRONG, "the kernel knows the old name for a second"
        mine.unlink()
        assert NAME in found["detail"]
        assert f"mv '{hidden}' NEW-NAME" in mount.run("status", mount.path, check=False).stdout

        mount.run("verify", mount.path)
        mount.remount()
        assert set_aside(mount) == found
        mount.umount()
        assert f"mv '{hidden}' NEW-NAME" in mount.run("fsck", mount.path, "--store", store).stdout
        mount.mount()
        hidden.rename(mine)
        eventually(lambda: not status(mount)["withdrawn"], "it is listed no longer")
        assert mine.read_bytes() == WRONG
        mount.umount()
        wait_for_guardian(mount.pid)
        mount.finish()


@pytest.mark.root
def test_the_quarantine_is_elsewhere_and_then_has_no_room(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """It is copied there; where that cannot be, nothing half is left there, and the file stays."""
    with mounted_tmpfs(tmp_path, "size=2m") as small:
        mount = mounted(None, "--store", str(small / "store"), "--quarantine-size", "1GB")
        mount.expect_logged += ["moved to quarantine", "since it could not be put into quarantine"]
        directory = blobs(mount)
        refuses(errno.EIO, lambda: download(directory, WRONG))
        (kept,) = quarantined(mount)
        assert (mount.store / "quarantine" / kept).read_bytes() == WRONG
        assert os.listdir(directory) == []

        big = random.Random(3).randbytes(4 << 20)
        refuses(errno.EIO, lambda: download(directory, big))
        assert (mount.path / set_aside(mount)["path"]).read_bytes() == big
        assert sorted(os.listdir(mount.store / "quarantine")) == [kept, f"{kept}.json"]
        download(directory, RIGHT)
        assert (directory / NAME).read_bytes() == RIGHT
        mount.umount()
        wait_for_guardian(mount.pid)
        mount.finish()


def test_the_same_bytes_again_are_accepted_wherever_they_went_before(mounted: Callable[..., Mounted]) -> None:
    """Of a mirror whose names only look like promises, files too large for the quarantine must become usable too."""
    mount = mounted(None, "--quarantine-size", "100kB")
    mount.expect_logged += ["since it could not be put into quarantine", "the same bytes came again"]
    directory = blobs(mount)
    refuses(errno.EIO, lambda: download(directory, WRONG))
    assert download(directory, WRONG).read_bytes() == WRONG
