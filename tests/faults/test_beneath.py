"""Files that somebody changes beneath the view, by a path or a descriptor of their own: served as they are, and sealed
again. Never EIO, never bytes of before (H16, H17, H22)."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal
from ipfsfs.unixfs import cid
from tests.support.beneath import SIZE, WAYS, Beneath, content
from tests.support.calls import cid_of
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.sealers import rest

pytestmark = pytest.mark.filesystem

SEEN_WITHIN_S: Final = 1.5
"""Names and attributes may be cached for a second."""
SETTLED_S: Final = 0.2
"""The kernel keeps the listing of a directory that changed longer ago."""


def cid_of_leaf(data: bytes) -> bytes:
    """The CID of a file that is one leaf, as the attribute shows it."""
    return cid.to_text(cid.raw_cid(sha256(data).digest())).encode()


@pytest.fixture
def beneath(tmp_path: Path, mounted: Callable[..., Mounted]) -> Iterator[Beneath]:
    directory = tmp_path / "cache"
    directory.mkdir()
    plain = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Beneath(mounted(directory), plain)
    finally:
        os.close(plain)


def test_h22_what_is_changed_beneath_is_served_as_it_is_and_sealed_again(beneath: Beneath) -> None:
    """Each in three classes: not cached by the kernel at all, cached, and cached while somebody has it open."""
    mount = beneath.mount
    names = [(way, f"{way.__name__}.{state}") for way in WAYS for state in ("cold", "warm", "open")]
    for _, name in names:
        (mount.path / name).write_bytes(content(1))
    mount.seal()
    held = {}
    for _, name in names:
        if not name.endswith("cold"):
            assert (mount.path / name).read_bytes() == content(1)
        if name.endswith("open"):
            held[name] = os.open(mount.path / name, os.O_RDONLY)
    before = {name: os.getxattr(mount.path / name, "ipfs.cid") for _, name in names}
    rest()

    now = {name: way(beneath, name) for way, name in names}
    time.sleep(SEEN_WITHIN_S)
    for _, name in names:
        assert (mount.path / name).read_bytes() == now[name], name
        assert (mount.path / name).stat().st_size == len(now[name])
    for fd in held.values():
        os.close(fd)
    mount.seal()
    for _, name in names:
        assert (mount.path / name).read_bytes() == now[name], name
        assert os.getxattr(mount.path / name, "ipfs.cid") != before[name], name
    assert mount.run("verify", mount.path).returncode == 0
    status = mount.status()
    assert status["rot"] == []
    assert status["degraded"] == ""


@pytest.mark.parametrize("touch", [lambda path: path.chmod(0o600), os.utime], ids=["chmod", "utime"])
def test_h22_a_chmod_does_not_hide_what_was_changed_beneath(beneath: Beneath, touch: Callable[[Path], None]) -> None:
    """The kernel has pages of before, and the times it is told after that are the right ones."""
    path = beneath.mount.path / "file"
    path.write_bytes(content(1))
    assert path.read_bytes() == content(1)
    beneath.write("file", content(2))
    touch(path)
    assert path.read_bytes() == content(2)


def test_h22_all_who_open_a_file_at_once_see_what_was_appended_beneath(beneath: Beneath) -> None:
    """The kernel looks again for each of them, or what it knows is told to none but the first."""
    path = beneath.mount.path / "models--a--b" / "blobs" / ("c" * 40)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    barrier = threading.Barrier(3)
    read: list[int] = []

    def reader() -> None:
        for _ in range(60):
            barrier.wait()
            read.append(len(path.read_bytes()))
            barrier.wait()

    with ThreadPoolExecutor(2) as others:
        done = [others.submit(reader) for _ in range(2)]
        for size in range(1, 61):
            beneath.write(str(path.relative_to(beneath.mount.path)), b"x", size - 1)
            barrier.wait()
            read.append(len(path.read_bytes()))
            barrier.wait()
        for other in done:
            other.result()
    assert sorted(read) == sorted(list(range(1, 61)) * 3)


def test_what_was_changed_beneath_is_sealed_again_when_it_is_read(beneath: Beneath) -> None:
    """By the read alone: no CID is asked for before, and nothing else is about to seal the file."""
    mount = beneath.mount
    path = mount.path / "file"
    eventually(lambda: mount.status()["looked_at_everything"], "no walk finds it")
    path.write_bytes(content(1))
    # Its own turn, which comes when it has rested, may still be to come when a command has sealed it.
    eventually(lambda: (facts := mount.status())["sealed"] == 1 and not facts["unsealed"], "nothing is planned")
    rest()
    now = content(2, SIZE + 1)
    beneath.write("file", now)
    assert path.read_bytes() == now
    eventually(lambda: mount.status()["sealed_bytes"] == len(now), "sealed")
    assert cid_of(path) == cid_of_leaf(now)


@pytest.mark.parametrize("way", WAYS)
def test_h22_no_cid_of_before_is_shown_while_sealing_is_about_to_begin(
    beneath: Beneath, way: Callable[[Beneath, str], bytes]
) -> None:
    """A file just written is sealed when it has rested, be it what was written or what it was changed to beneath: its
    CID is that of its bytes from the change on, or there is none yet."""
    mount = beneath.mount
    path = mount.path / "file"
    path.write_bytes(content(1))
    ask(mount.store, seal.Question())  # before the file's own turn has come
    assert path.read_bytes() == content(1)
    assert cid_of(path) == cid_of_leaf(content(1))
    rest()
    now = way(beneath, "file")
    shown: set[bytes | None] = set()

    def is_sealed() -> bool:
        shown.add(cid_of(path))
        return shown != {None}

    eventually(is_sealed, "sealed")
    assert shown <= {None, cid_of_leaf(now)}
    time.sleep(SEEN_WITHIN_S)
    assert path.read_bytes() == now
    assert cid_of(path) == cid_of_leaf(now)


def test_h22_an_open_sees_a_change_at_once(beneath: Beneath) -> None:
    """What the kernel has cached of size and times may be a second old; what is read may not."""
    mount = beneath.mount
    path = mount.path / "config.json"
    path.write_bytes(content(1))
    mount.seal()
    for seed in range(2, 12):
        assert len(path.read_bytes()) == SIZE
        rest()
        beneath.write("config.json", content(seed))
        fd = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(fd, SIZE, 0) == content(seed)
        finally:
            os.close(fd)


@pytest.mark.parametrize("look", ["stat", "list"])
def test_h22_looking_at_a_rewritten_blob_does_not_hide_it_from_an_open(beneath: Beneath, look: str) -> None:
    """Its size and mtime are those of before, so the kernel alone would go on with the pages that it has."""
    mount = beneath.mount
    blobs = mount.path / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    path = blobs / ("1" * 40)
    path.write_bytes(content(1))
    mount.seal()
    for seed in range(2, 8):
        assert len(path.read_bytes()) == SIZE
        before = path.stat()
        rest()
        name = f"hub/models--a--b/blobs/{path.name}"
        beneath.write(name, content(seed))
        os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=beneath.plain)
        if look == "stat":
            path.stat()
        else:
            beneath.write(f"hub/models--a--b/blobs/new{seed}", b"", flags=os.O_WRONLY | os.O_CREAT)
            assert len([entry.stat() for entry in os.scandir(blobs)]) == seed
        assert path.read_bytes() == content(seed)


def test_h16_nothing_is_sealed_that_somebody_can_write_to(beneath: Beneath) -> None:
    """A descriptor or a shared mapping from before, by a path of its own: stores into a dirty page change no time."""
    mount = beneath.mount
    for name in ("descriptor", "mapping"):
        beneath.write(name, content(1), flags=os.O_WRONLY | os.O_CREAT)
    writer = beneath.fd("descriptor", os.O_RDWR)
    fd = beneath.fd("mapping", os.O_RDWR)
    mapped = mmap.mmap(fd, SIZE)
    os.close(fd)
    mapped[0] = content(1)[0]
    rest()
    assert mount.seal()["failed"] == 2
    for step in range(3):
        os.pwrite(writer, content(2)[:50], 40_000 * step)
        mapped[40_000 * step : 40_000 * step + 50] = content(2)[:50]
        for name in ("descriptor", "mapping"):
            with pytest.raises(OSError, match="No data available"):
                os.getxattr(mount.path / name, "ipfs.cid")
            fd = os.open(mount.path / name, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 50, 40_000 * step) == content(2)[:50]
            os.close(fd)
        rest()
    os.close(writer)
    mapped.close()
    rest()
    assert mount.seal()["failed"] == 0
    assert mount.run("verify", mount.path).returncode == 0
    for name in ("descriptor", "mapping"):
        assert os.getxattr(mount.path / name, "ipfs.cid")


def test_h22_names_come_go_and_change_their_kind_beneath(beneath: Beneath, tmp_path: Path) -> None:
    mount = beneath.mount
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("not for the view")
    for name in ("becomes-a-directory", "becomes-a-link", "goes"):
        (mount.path / name).write_bytes(b"a file")
    (mount.path / "directory").mkdir()
    (mount.path / "directory" / "file").write_bytes(b"in the tree")
    held = os.open(mount.path / "directory", os.O_RDONLY | os.O_DIRECTORY)
    assert not (mount.path / "comes").exists()
    mount.seal()

    for name in ("becomes-a-directory", "becomes-a-link", "goes"):
        os.unlink(name, dir_fd=beneath.plain)
    os.mkdir("becomes-a-directory", dir_fd=beneath.plain)
    os.symlink("comes", "becomes-a-link", dir_fd=beneath.plain)
    beneath.write("comes", b"new", flags=os.O_WRONLY | os.O_CREAT)
    os.rename("directory", "directory.old", src_dir_fd=beneath.plain, dst_dir_fd=beneath.plain)
    os.symlink(outside, "directory", dir_fd=beneath.plain)
    time.sleep(SEEN_WITHIN_S)

    # By name first: a listing tells the kernel of each name what stands there.
    assert (mount.path / "becomes-a-directory").is_dir()
    assert (mount.path / "becomes-a-link").read_bytes() == b"new"
    assert (mount.path / "comes").read_bytes() == b"new"
    assert not (mount.path / "goes").exists()
    assert (mount.path / "directory.old" / "file").read_bytes() == b"in the tree"
    assert sorted(os.listdir(mount.path)) == sorted(os.listdir(f"/proc/self/fd/{beneath.plain}"))
    # H35: who stands in the directory of before is not taken out of the tree by the link in its place.
    fd = os.open("file", os.O_RDONLY, dir_fd=held)
    assert os.read(fd, 100) == b"in the tree"
    os.close(fd)
    os.close(held)
    os.unlink("directory", dir_fd=beneath.plain)


def made_again(at: Beneath, above: str, name: str) -> None:
    """It most likely has the inode number of before."""
    at.remove(f"{above}/{name}")
    at.make_directory(f"{above}/{name}")


def another_in_its_place(at: Beneath, above: str, name: str) -> None:
    at.make_directory(f"{above}/made first")
    at.remove(f"{above}/{name}")
    at.rename(f"{above}/made first", f"{above}/{name}")


def swapped(at: Beneath, above: str, name: str) -> None:
    """The one of before is still there, under another name."""
    at.make_directory(f"{above}/made first")
    at.rename(f"{above}/{name}", f"{above}/old")
    at.rename(f"{above}/made first", f"{above}/{name}")


def one_above_swapped(at: Beneath, above: str, name: str) -> None:
    at.make_directory("made first", f"made first/{name}")
    at.rename(above, "old")
    at.rename("made first", above)


@pytest.mark.parametrize("directory", ["some/directory", f"models--a--b/snapshots/{'a' * 40}"])
@pytest.mark.parametrize("replace", [made_again, another_in_its_place, swapped, one_above_swapped])
def test_h22_a_directory_that_is_replaced_beneath(
    beneath: Beneath, directory: str, replace: Callable[[Beneath, str, str], None]
) -> None:
    """It is listed at once, and what is in it is found within a second; a commit's too. Never ESTALE."""
    top = beneath.mount.path
    path = top / directory
    path.mkdir(parents=True)
    (path / "config.json").write_text("old")
    assert os.listdir(path) == ["config.json"]
    assert (path / "config.json").read_text() == "old"
    assert not (path / "tokenizer.json").exists()
    time.sleep(SETTLED_S)
    os.listdir(path)

    replace(beneath, *directory.rsplit("/", 1))
    assert sorted(os.listdir(path)) == ["config.json", "tokenizer.json"]
    time.sleep(SEEN_WITHIN_S)
    assert sorted(os.listdir(path)) == ["config.json", "tokenizer.json"]
    for name in ("config.json", "tokenizer.json"):
        assert (path / name).read_text() == "new"
    (path / "made in it").touch()
    assert (path / "made in it").exists()


def test_a_file_made_beneath_is_sealed_when_it_is_read(beneath: Beneath) -> None:
    """After the first walk nothing tells of it but its being opened; without a command, and without another mount."""
    mount = beneath.mount
    eventually(lambda: mount.status()["looked_at_everything"], "the first walk has ended")
    beneath.write("made", content(1), flags=os.O_WRONLY | os.O_CREAT)
    assert (mount.path / "made").read_bytes() == content(1)
    eventually(lambda: mount.status()["sealed"] == 1, "it is sealed")


def test_a_file_made_beneath_is_sealed_when_its_cid_is_asked_for(beneath: Beneath) -> None:
    mount = beneath.mount
    eventually(lambda: mount.status()["looked_at_everything"], "the first walk has ended")
    beneath.write("made", content(1), flags=os.O_WRONLY | os.O_CREAT)
    eventually(lambda: cid_of(mount.path / "made"), "it is sealed, though nobody has read it")
