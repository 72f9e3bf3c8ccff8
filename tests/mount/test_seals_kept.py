"""Which changes leave a file sealed, which have it sealed again, and what no seal can hold."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.store.ledger import Ledger
from tests.support.calls import cid_of, download, exchange, plain_directory
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually
from tests.support.stores import file_in

pytestmark = pytest.mark.filesystem

CONTENT: Final = b"content" * 1000


def touch(path: Path) -> None:
    """As touch(1): by a descriptor that is open for writing, and writes nothing."""
    fd = os.open(path, os.O_WRONLY)
    os.utime(fd)
    os.close(fd)


def truncate_unwritten(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def open_for_writing(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR))


def link_and_unlink(path: Path) -> None:
    os.link(path, path.with_name("second"))
    path.unlink()
    path.with_name("second").rename(path)


def replace_a_link(path: Path) -> None:
    os.link(path, path.with_name("second"))
    path.with_name("new").write_bytes(b"new")
    path.with_name("new").rename(path)
    exchange(path, path.with_name("second"))


@pytest.mark.parametrize("change", [open_for_writing, link_and_unlink, replace_a_link])
def test_it_stays_sealed(mounted: Callable[..., Mounted], change: Callable[[Path], None]) -> None:
    mount = mounted()
    path = mount.path / "file"
    path.write_bytes(CONTENT)
    mount.seal()
    sealed = cid_of(path)
    assert sealed
    change(path)
    assert cid_of(path) == sealed


@pytest.mark.parametrize("change", [touch, truncate_unwritten])
def test_it_is_sealed_again(mounted: Callable[..., Mounted], change: Callable[[Path], None]) -> None:
    mount = mounted()
    path = mount.path / "file"
    path.write_bytes(CONTENT)
    mount.seal()
    change(path)
    assert cid_of(path) is None
    eventually(lambda: cid_of(path), "sealed")


def test_two_files_that_change_places_keep_their_seals(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    one, other = mount.path / "one", mount.path / "other"
    one.write_bytes(CONTENT)
    other.write_bytes(CONTENT[::-1])
    mount.seal()
    before = cid_of(one), cid_of(other)
    assert all(before)
    exchange(one, other)
    assert (cid_of(other), cid_of(one)) == before


def test_a_file_that_somebody_opened_for_writing_in_time_is_sealed_when_he_has_gone(
    mounted: Callable[..., Mounted],
) -> None:
    """Also where he wrote nothing: nobody else would remember that it is still to be sealed."""
    path = mounted().path / "file"
    path.write_bytes(CONTENT)
    with path.open("r+b"):
        time.sleep(1.5)
        assert cid_of(path) is None
    eventually(lambda: cid_of(path), "sealed")


@pytest.mark.parametrize("before", [True, False])
def test_a_file_of_the_far_future_is_served_and_not_sealed(
    tmp_path: Path, mounted: Callable[..., Mounted], before: bool
) -> None:
    """ext4 has times until the year 2446, a database numbers for those until 2262."""
    far = tmp_path / "cache" / "far"
    far.parent.mkdir()
    far_ns = 13_000_000_000 * 10**9
    if before:
        far.write_bytes(CONTENT)
        os.utime(far, ns=(far_ns, far_ns))
    mount = mounted(far.parent)
    mount.expect_logged += ["far: it gets no seal as it is: one of its times lies beyond the year 2262"]
    (mount.path / "near").write_bytes(CONTENT)
    if not before:
        far.write_bytes(CONTENT)
        os.utime(far, ns=(far_ns, far_ns))
    eventually(lambda: cid_of(mount.path / "near"), "sealed")
    mount.seal()
    assert (far.read_bytes(), far.stat().st_mtime_ns, cid_of(far)) == (CONTENT, far_ns, None)
    assert mount.status()["degraded"] == ""
    far.unlink()
    mount.seal()


def test_h17_what_is_open_for_writing_when_the_path_is_given_back_is_vouched_for_no_longer(
    mounted: Callable[..., Mounted],
) -> None:
    """It is written to by a view that has let go of the store: a power cut could keep the bytes and lose the times."""
    mount = mounted()
    path = mount.path / "file"
    path.write_bytes(CONTENT)
    (mount.path / "other").write_bytes(CONTENT)
    mount.seal()
    number = path.stat().st_ino
    fd = os.open(path, os.O_RDWR)
    mount.umount("--lazy")
    with file_in(mount.store, "ledger") as file:
        ledger = Ledger.open(file)
        try:
            eventually(lambda: [ino for ino, _ in ledger.marks.all()] == [number], "it is in the ledger")
        finally:
            ledger.close()
    assert os.pwrite(fd, b"later", 0) == 5
    os.close(fd)
    mount.mount()
    assert (mount.path / "file").read_bytes() == b"later" + CONTENT[5:]
    assert ipfsfs("verify", mount.path).returncode == 0


@pytest.mark.parametrize("flags", [os.O_WRONLY | os.O_TRUNC, os.O_RDWR])
def test_a_file_can_be_opened_while_its_seal_is_broken(mounted: Callable[..., Mounted], flags: int) -> None:
    """What a promised blob was is kept first, which takes a while; whoever opens it meanwhile must not notice."""
    mount = mounted()
    mount.expect_logged += ["broken promise"]
    data = b"x" * (48 << 20)
    path = download(mount, "models--a--b", hashlib.sha256(data).hexdigest(), data)
    mount.seal()

    def write() -> None:
        fd = os.open(path, flags)
        os.pwrite(fd, b"y", 0)
        os.close(fd)

    opened = 0
    with ThreadPoolExecutor(1) as other:
        written = other.submit(write)
        while not written.done():
            os.close(os.open(path, os.O_RDWR if opened % 2 else os.O_RDONLY))
            opened += 1
        written.result()
    assert opened > 1
    assert mount.status()["open_files"] == 0
    mount.seal()
    assert cid_of(path)


def appended(path: Path) -> None:
    """A little was added at the end, which changes none of the sealed bytes."""
    with path.open("ab") as file:
        file.write(b"more")


def put_aside(path: Path) -> None:
    """It had a name for a moment under which nothing is sealed."""
    path.rename(path.with_name("file.incomplete"))
    path.with_name("file.incomplete").rename(path)


def touched_beneath(path: Path, plain: int) -> None:
    """Its times were changed beneath the view, as a write there does."""
    os.utime(path.name, dir_fd=plain)
    path.read_bytes()


def removed_while_open(path: Path) -> None:
    """It lost its name, and whoever has it open may go on writing."""
    path.unlink()


@pytest.mark.parametrize(
    "lose", [appended, put_aside, touched_beneath, removed_while_open], ids=lambda how: how.__name__
)
def test_h17_whatever_dropped_the_seal_it_is_marked_on_disk_before_sealed_bytes_change(
    tmp_path: Path, mounted: Callable[..., Mounted], lose: Callable[..., None]
) -> None:
    """A power cut may bring back the index of before, the seal in it, and the times that the file had then."""
    with plain_directory(tmp_path / "cache") as plain:
        mount = mounted(tmp_path / "cache")
        path = mount.path / "file"
        path.write_bytes(CONTENT)
        mount.seal()
        number = path.stat().st_ino
        fd = os.open(path, os.O_RDWR) if lose is removed_while_open else -1
        lose(*((path, plain) if lose is touched_beneath else (path,)))
    if fd < 0:
        fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"CONTENT", 0)
    mount.kill()
    os.close(fd)
    with file_in(mount.store, "ledger") as file:
        ledger = Ledger.open(file)
        try:
            assert number in [ino for ino, _ in ledger.marks.all()]
        finally:
            ledger.close()
    mount.mount()
