"""Rot made for real: blocks changed in the image beneath the filesystem. Never a wrong byte, and the rest readable."""

from __future__ import annotations

import json
import mmap
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.store.seal import UNIT
from tests.support.calls import cid_of
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.rot import Disk, spoilable_disk
from tests.support.rotten import WAYS, Rotten, by_pread
from tests.support.sealers import rest
from tests.support.stores import amend_seals

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("unasked")]

PAGE: Final = 4096
SIZE: Final = 24 * UNIT + 5000
CONTENT: Final = random.Random(1).randbytes(SIZE)
BAD: Final = 9
"""The unit that rots."""
ROTTEN: Final = Rotten(CONTENT, BAD * UNIT, (BAD + 1) * UNIT)
OTHER_BOOT: Final = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


def test_never_a_wrong_byte_and_the_rest_is_readable(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache)
    for name in WAYS:
        (mount.path / name).write_bytes(CONTENT)
    assert mount.seal()["failed"] == 0
    mount.expect_logged += [f"{name}: rot: " for name in WAYS]
    for name, way in WAYS.items():
        disk.rot(name, BAD * UNIT + 77_777)
        way(mount.path / name, ROTTEN)
        told = [line for line in mount.log().splitlines() if " ERROR " in line and name in line]
        assert len(told) == 1, "one log line, however many pages are read"
        assert "ipfsfs restore " in told[0]

    assert sorted(found["path"] for found in mount.status()["rot"]) == sorted(WAYS)
    verified = mount.run("verify", mount.path, "--json", check=False)
    assert verified.returncode == 4
    wrong = json.loads(verified.stdout)["wrong"]
    assert sorted(item["path"] for item in wrong) == sorted(str(mount.path / name) for name in WAYS)
    assert {item["kind"] for item in wrong} == {"rot"}
    assert all("ipfsfs restore " in item["fix"] for item in wrong)

    mount.remount()
    by_pread(mount.path / "by_pread", ROTTEN)
    mount.umount()
    assert mount.run("verify", mount.path, check=False).returncode == 4, "found without a view as well"
    mount.mount()

    for name in WAYS:
        (mount.path / name).unlink()
        (mount.path / name).write_bytes(CONTENT)
    assert mount.seal()["failed"] == 0
    assert all((mount.path / name).read_bytes() == CONTENT for name in WAYS)
    assert mount.status()["rot"] == []
    assert mount.run("verify", mount.path).returncode == 0


def test_the_edges_of_rot(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """In a file's last byte, in a small file, in one that is rewritten in place; and not in what is mapped already."""
    mount = mounted(disk.cache)
    for name, size in (("tail", SIZE), ("small", 3000), ("rewritten", SIZE), ("mapped", SIZE)):
        (mount.path / name).write_bytes(CONTENT[:size])
    mount.seal()
    mount.expect_logged += ["(tail|small|rewritten): rot: "]
    for name, at in (("tail", SIZE - 1), ("small", 0), ("rewritten", 0)):
        disk.rot(name, at)
        with pytest.raises(OSError, match="Input/output error"):
            (mount.path / name).read_bytes()
    (mount.path / "rewritten").write_bytes(CONTENT)
    (mount.path / "tail").rename(mount.path / "renamed")
    (mount.path / "small").unlink()
    with (mount.path / "mapped").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == CONTENT
        disk.rot("mapped", BAD * UNIT)
        assert mapped[:] == CONTENT, "its pages were checked when they came"
    (mount.path / "mapped").unlink()

    mount.seal()
    assert mount.status()["rot"] == []
    mount.expect_logged += ["renamed: rot: "]
    with pytest.raises(OSError, match="Input/output error"):
        (mount.path / "renamed").read_bytes()
    assert [found["path"] for found in mount.status()["rot"]] == ["renamed"]
    (mount.path / "renamed").unlink()
    assert mount.run("verify", mount.path).returncode == 0


JUDGED: Final[dict[str, tuple[dict[str, Any], bool]]] = {
    "no-lease": ({"leased": False}, False),
    "other-boot": ({"boot": OTHER_BOOT, "settled": False}, False),
    "other-boot-settled": ({"boot": OTHER_BOOT, "settled": True}, True),
    "no-lease-settled": ({"leased": False, "settled": True}, False),
}
"""Files by what their seals say of themselves, and whether a mismatch then is rot."""


def test_h16_only_a_seal_that_can_tell_calls_it_rot(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """Where somebody may have written meanwhile, or a power cut kept data and lost times: served, logged, no EIO."""
    mount = mounted(disk.cache)
    for name in JUDGED:
        (mount.path / name).write_bytes(CONTENT)
    mount.seal()
    mount.umount()
    fields = {(mount.path / name).stat().st_ino: fields for name, (fields, _) in JUDGED.items()}
    amend_seals(mount.path, mount.store, lambda seal: replace(seal, **fields[seal.ino]))
    mount.mount()
    disk.rot("no-lease-settled", BAD * UNIT)
    assert mount.run("verify", mount.path / "no-lease-settled").returncode == 0
    for name, (_, is_rot) in JUDGED.items():
        if name == "no-lease-settled":
            continue
        disk.rot(name, BAD * UNIT)
        path = mount.path / name
        if is_rot:
            mount.expect_logged.append(f"{name}: rot: ")
            by_pread(path, ROTTEN)
            path.unlink()
            continue
        mount.expect_logged.append(f"{name}: changed or rotten")
        found = path.read_bytes()
        assert found != CONTENT
        assert found[: BAD * UNIT] == CONTENT[: BAD * UNIT]
        mount.seal(path)
        assert os.getxattr(path, "ipfs.cid"), "sealed again, as it is now"
        assert path.read_bytes() == found
    eventually(lambda: mount.status()["rot"] == [], "of what was removed nothing is said")


def chmod(path: Path) -> Path:
    path.chmod(0o600)
    return path


def chown(path: Path) -> Path:
    os.chown(path, 1001, 1001)
    return path


def set_xattr(path: Path) -> Path:
    os.setxattr(path, "user.tag", b"1")
    return path


def link(path: Path) -> Path:
    os.link(path, path.with_name("one more"))
    return path


def link_and_unlink(path: Path) -> Path:
    kept = path.with_name("kept")
    os.link(path, kept)
    path.unlink()
    return kept


def rename(path: Path) -> Path:
    return path.rename(path.with_name("renamed"))


CHANGES: Final = (chmod, chown, set_xattr, link, link_and_unlink, rename)


def test_rot_is_found_whatever_is_done_to_the_inode(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """What sets a file's ctime alone leaves it sealed, for those who have it open too."""
    mount = mounted(disk.cache)
    for change in CHANGES:
        (mount.path / change.__name__).write_bytes(CONTENT)
    mount.seal()
    mount.expect_logged += [": rot: "]
    opened = {change: os.open(mount.path / change.__name__, os.O_RDONLY) for change in CHANGES}
    changed = {change: change(mount.path / change.__name__) for change in CHANGES}
    for change, path in changed.items():
        assert cid_of(path), change.__name__
        disk.rot(path.name, BAD * UNIT)
        assert os.pread(opened[change], PAGE, 0) == CONTENT[:PAGE]
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(opened[change], PAGE, BAD * UNIT)
        os.close(opened[change])
        by_pread(path, ROTTEN)
    mount.seal()
    for path in changed.values():
        by_pread(path, ROTTEN)
    named = {(mount.path / found["path"]).stat().st_ino for found in mount.status()["rot"]}
    assert named == {path.stat().st_ino for path in changed.values()}, "each, by one of its names"
    for path in mount.path.iterdir():
        path.unlink()


def test_rot_is_found_by_who_opened_a_file_before_it_was_sealed(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    """As a worker does that opens its model right after mounting; and one whose file has lost its name."""
    mount = mounted(disk.cache)
    for name in ("walked", "removed"):
        fd = disk.beneath(name, os.O_WRONLY | os.O_CREAT)
        os.write(fd, CONTENT)
        os.close(fd)
    opened = {name: os.open(mount.path / name, os.O_RDONLY) for name in ("walked", "removed")}
    rest()
    mount.seal()
    assert cid_of(mount.path / "walked")
    mount.expect_logged += ["(walked|removed): rot: "]
    for name, fd in opened.items():
        disk.rot(name, BAD * UNIT, opened=fd)  # another open would find the seal
    (mount.path / "removed").unlink()
    for fd in opened.values():
        with pytest.raises(OSError, match="Input/output error"):
            os.pread(fd, PAGE, BAD * UNIT)
        os.close(fd)
    (mount.path / "walked").unlink()


def test_h18_a_rotten_file_stays_as_it_is_until_its_user_does_something(
    disk: Disk, mounted: Callable[..., Mounted]
) -> None:
    """Nothing heals it, over whatever was done to its inode; and what a user writes into it is not written over."""
    mount = mounted(disk.cache)
    path = mount.path / "model"
    path.write_bytes(CONTENT)
    mount.seal()
    mount.expect_logged += ["(model|second): rot: "]
    disk.rot("model", BAD * UNIT)
    number = path.stat().st_ino
    mount.run("verify", mount.path, check=False)
    path.chmod(0o600)
    os.setxattr(path, "user.tag", b"1")
    os.link(path, mount.path / "second")
    for _ in range(2):
        by_pread(path, ROTTEN)
        assert path.stat().st_ino == number
        assert mount.run("verify", mount.path, check=False).returncode == 4
        mount.seal()
        mount.remount()

    with path.open("r+b") as file:
        file.seek(BAD * UNIT)
        file.write(b"a user's own")
    mount.seal()
    mount.remount()
    assert path.stat().st_ino == number
    expected = bytearray(CONTENT)
    expected[BAD * UNIT : BAD * UNIT + 12] = b"a user's own"
    assert path.read_bytes() == expected
    assert mount.run("verify", mount.path).returncode == 0
