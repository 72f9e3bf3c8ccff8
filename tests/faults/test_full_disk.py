"""The disk below the view is full: a worker is told what plain disk would tell it, and nothing else suffers."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted
from tests.support.processes import eventually

pytestmark = pytest.mark.root

KEPT: Final = random.Random(1).randbytes(2_000_000)
BLOCK: Final = random.Random(2).randbytes(1 << 16)


@dataclass(slots=True)
class Told:
    """What a worker was told, call by call."""

    answers: list[str] = field(default_factory=list)

    def call(self, what: str, function: Callable[..., object], *arguments: object) -> None:
        try:
            answer = function(*arguments)
            self.answers.append(f"{what}: {answer if isinstance(answer, int) else 'done'}")
        except OSError as error:
            self.answers.append(f"{what}: {errno.errorcode[error.errno or 0]}")


def fill_and_go_on(top: Path) -> list[str]:
    """Fill the disk, try everything on the full disk, make room, go on. Returns what the system calls answered."""
    told = Told()
    (top / "kept").write_bytes(KEPT)
    (top / "removed").write_bytes(KEPT)
    (top / "folder").mkdir()
    told.answers.append(_fill(top / "filler"))
    fd = os.open(top / "kept", os.O_RDWR)
    told.call("write in place", os.pwrite, fd, b"y" * 100, 5000)
    told.call("fsync", os.fsync, fd)
    os.close(fd)
    told.call("rename", os.rename, top / "kept", top / "folder" / "moved")
    told.call("read", lambda: len((top / "folder" / "moved").read_bytes()))
    told.call("remove", os.unlink, top / "removed")
    told.call("write again", (top / "new").write_bytes, KEPT[:500_000])
    told.call("read that", lambda: len((top / "new").read_bytes()))
    (top / "filler").unlink()
    assert (top / "folder" / "moved").read_bytes() == KEPT[:5000] + b"y" * 100 + KEPT[5100:]
    assert (top / "new").read_bytes() == KEPT[:500_000]
    return told.answers


def _fill(path: Path) -> str:
    """Write until not even a block has room; what was written is there. Returns how that was said."""
    written, said = 0, set()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (len(BLOCK), 4096, len(BLOCK), 4096):  # what was set aside and not needed is free after an fsync
        try:
            while True:
                written += os.pwrite(fd, BLOCK[written % 4096 :][:size], written)
        except OSError as error:
            said.add(errno.errorcode[error.errno or 0])
        os.fsync(fd)
    assert os.fstat(fd).st_size == written
    os.close(fd)
    assert path.stat().st_size == written
    return ", ".join(sorted(said))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes disks of 24 MiB; returns a directory on each."""
    with ExitStack() as disks:

        def make(name: str) -> Path:
            (tmp_path / name).mkdir()
            at = disks.enter_context(mounted_image(new_ext4_image(tmp_path / f"{name}.img", 24), tmp_path / name))
            (at / "cache").mkdir()
            return at / "cache"

        yield make


@pytest.mark.parametrize("store_beside", [False, True], ids=["store-elsewhere", "store-on-it"])
def test_a_full_disk_is_said_as_plain_disk_says_it_and_nothing_else_is_lost(
    small_disk: Callable[[str], Path], mounted: Callable[..., Mounted], tmp_path: Path, store_beside: bool
) -> None:
    plain, viewed = small_disk("plain"), small_disk("viewed")
    mount = mounted(viewed, *([] if store_beside else ["--store", str(tmp_path / "store")]))
    mount.expect_logged += ["disk is full; what is sealed waits", "No space left"]
    expected = fill_and_go_on(plain)
    assert fill_and_go_on(mount.path) == expected
    assert any("ENOSPC" in answer for answer in expected)

    eventually(lambda: ask(mount.store, status.Question()).degraded == "", "there is room again")
    assert ask(mount.store, seal.Question()).failed == 0
    sealed = ask(mount.store, status.Question()).sealed
    mount.remount()
    assert ask(mount.store, status.Question()).sealed == sealed > 0, "the index was not made anew"
    assert ask(mount.store, seal.Question()).failed == 0
    assert ask(mount.store, status.Question()).degraded == ""
    assert os.getxattr(mount.path / "new", "ipfs.cid")
    assert "mounted" in mount.log(), "the log goes on"


def test_no_inode_is_left(small_disk: Callable[[str], Path], mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    cache = small_disk("disk")
    elsewhere = cache.parent / "elsewhere"
    elsewhere.mkdir()
    for number in range(os.statvfs(cache).f_ffree - 100):
        os.mknod(elsewhere / f"{number}")
    mount = mounted(cache, "--store", str(tmp_path / "store"))
    for number in range(100):
        os.mknod(cache / f"{number}")
    for call in (Path.touch, lambda path: path.symlink_to("x"), Path.mkdir):
        with pytest.raises(OSError, match="No space left"):
            call(cache / "one-more")
    assert len(os.listdir(cache)) == 100
    for number in range(100):
        (cache / f"{number}").unlink()
    (cache / "file").write_bytes(KEPT)
    assert ask(mount.store, seal.Question()).failed == 0


def test_what_is_removed_makes_room_at_once(
    small_disk: Callable[[str], Path], mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """Whether it was sealed, is being sealed, or is a download that was given up while its hash was computed."""
    cache = small_disk("disk")
    mount = mounted(cache, "--store", str(tmp_path / "store"))
    blobs = cache / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    for number in range(3):
        for removed in (cache / "removed", blobs / "x.incomplete"):
            removed.write_bytes(BLOCK * 80)
            if number == 1:
                ask(mount.store, seal.Question())
            _fill(cache / "filler")
            removed.unlink()
            assert (cache / "new").write_bytes(KEPT) == len(KEPT), removed
            (cache / "new").unlink()
            (cache / "filler").unlink()
