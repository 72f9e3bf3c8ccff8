"""Which files their filesystem checks: by real filesystems, and by what those say that this kernel does not have."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.plain import checked
from ipfsfs.plain.checked import Checking
from ipfsfs.plain.mount_table import Row
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_image
from tests.support.rot import turn_over

_SIZE: Final = 1 << 20
_NOCOW: Final = 0x00800000


@contextmanager
def _checking(directory: Path) -> Iterator[Checking]:
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield Checking.of(fd)
    finally:
        os.close(fd)


def _why_not(checking: Checking, path: Path) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        return checking.why_not(fd, os.fstat(fd))
    finally:
        os.close(fd)


def _made(path: Path) -> Path:
    path.write_bytes(os.urandom(_SIZE))
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return path


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _rots(image: Path, path: Path) -> bool:
    """Whether bytes that have changed on the disk are read as if nothing were wrong. They are as before afterwards."""
    before = path.read_bytes()
    turn_over(image, path, 5000, 37)
    try:
        found = path.read_bytes()
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    finally:
        turn_over(image, path, 5000, 37)
    assert found != before, "nothing was changed on the disk"
    assert path.read_bytes() == before
    return True


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """With two copies of metadata and one of data, as on most machines."""
    return new_image(tmp_path / "image", "btrfs", 256)


@pytest.mark.root
def test_what_is_called_checked_on_btrfs_is_and_nothing_else(image: Path, tmp_path: Path) -> None:
    """Each is compared with what Btrfs does when bytes on the disk have changed."""
    at = tmp_path / "disk"
    with mounted_image(image, at):
        _made(at / "ordinary")
        _run("cp", "--reflink=always", at / "ordinary", at / "reflinked")
        _run("btrfs", "subvolume", "create", at / "subvolume")
        _made(at / "subvolume" / "file")
        _run("btrfs", "subvolume", "snapshot", at / "subvolume", at / "snapshot")
        (at / "nocow").touch()
        _run("chattr", "+C", at / "nocow")
        _made(at / "nocow")
        (at / "directory").mkdir()
        _run("chattr", "+C", at / "directory")
        _made(at / "directory" / "inherited")
        (at / "compressed").mkdir()
        _run("btrfs", "property", "set", at / "compressed", "compression", "zstd")
        (at / "compressed" / "file").write_bytes(b"text " * _SIZE)
        (at / "inline").write_bytes(b"small")
        os.sync()
    for options in (("nodatasum",), ("nodatacow",)):
        with mounted_image(image, at, *options):
            _made(at / f"made under {options[0]}")
    with mounted_image(image, at), _checking(at) as checking:
        assert (checking.filesystem, checking.never) == ("btrfs", "")
        made = [path for path in at.rglob("*") if path.is_file()]
        said = {str(path.relative_to(at)): _why_not(checking, path) for path in made}
        unchecked = {name for name, why in said.items() if why}
        assert unchecked == {"nocow", "directory/inherited", "made under nodatasum", "made under nodatacow"}
        assert "chattr +C" in said["nocow"]
        assert "nodatasum" in said["made under nodatasum"]
        assert len(said) == len(unchecked) + 6
        rotten = {name for name in said if not name.endswith(("compressed/file", "inline")) and _rots(image, at / name)}
        assert rotten == unchecked


@pytest.mark.root
def test_flags_that_are_not_on_the_disk_yet_count(image: Path, tmp_path: Path) -> None:
    """The tree is searched for the inode, which Btrfs may write there later."""
    with mounted_image(image, tmp_path / "disk") as at, _checking(at) as checking:
        for number in range(50):
            path = at / str(number)
            path.touch()
            assert _why_not(checking, path) == ""
            _run("chattr", "+C", path)
            assert _why_not(checking, path) != ""
            path.write_bytes(b"x" * 5000)
            assert _why_not(checking, path) != ""


@pytest.mark.root
def test_a_btrfs_that_is_mounted_with_nodatasum_checks_none(image: Path, tmp_path: Path) -> None:
    with mounted_image(image, tmp_path / "disk", "nodatasum") as at, _checking(at) as checking:
        assert "nodatasum" in checking.never
        assert "nodatasum" in _why_not(checking, _made(at / "file"))


@pytest.mark.root
def test_a_mount_that_is_changed_to_nodatasum_meanwhile(image: Path, tmp_path: Path) -> None:
    """What is made from then on says so itself; what was there before keeps its checksums, and is checked."""
    with mounted_image(image, tmp_path / "disk") as at, _checking(at) as checking:
        _made(at / "before")
        _run("mount", "-o", "remount,nodatasum", at)
        _made(at / "after")
        assert _why_not(checking, at / "before") == ""
        assert "nodatasum" in _why_not(checking, at / "after")
        with (at / "before").open("r+b") as file:
            file.write(b"written after")
            os.fsync(file.fileno())
        assert _why_not(checking, at / "before") == ""
        assert not _rots(image, at / "before")
        assert _rots(image, at / "after")


@pytest.mark.root
def test_a_btrfs_that_is_mounted_to_rescue_what_can_be_read(image: Path, tmp_path: Path) -> None:
    at = tmp_path / "disk"
    with mounted_image(image, at):
        _made(at / "file")
    for option in ("rescue=ignoredatacsums", "rescue=all"):
        with mounted_image(image, at, "ro", option), _checking(at) as checking:
            assert "rescue=" in _why_not(checking, at / "file")


@pytest.mark.root
def test_who_may_not_search_the_tree_is_told_so(image: Path, tmp_path: Path) -> None:
    """An ordinary user: without the inode item nothing is known."""
    with mounted_image(image, tmp_path / "disk") as at:
        _made(at / "file")
        program = (
            "import os, sys\nfrom ipfsfs.plain.checked import Checking\n"
            "fd = os.open(sys.argv[1] + '/file', os.O_RDONLY)\n"
            "checking = Checking.of(os.open(sys.argv[1], os.O_PATH))\n"
            "os.setresuid(1001, 1001, 1001)\n"
            "print(checking.why_not(fd, os.fstat(fd)))"
        )
        done = subprocess.run([sys.executable, "-c", program, at], capture_output=True, text=True, check=True)
        assert "root alone" in done.stdout


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_other_filesystems_check_none(kind: str, tmp_path: Path) -> None:
    made = new_image(tmp_path / "image", kind, 512)
    with mounted_image(made, tmp_path / "disk") as at, _checking(at) as checking:
        _made(at / "file")
        assert _why_not(checking, at / "file") == checking.never != ""
        assert kind in checking.never
        assert _rots(made, at / "file")


@pytest.mark.root
def test_a_filesystem_below_another_is_not_taken_for_it(image: Path, tmp_path: Path) -> None:
    """Be it without checksums, or another mount of the same, whose options nobody has looked at."""
    with mounted_image(image, tmp_path / "disk") as at, _checking(at) as checking:
        with mounted_tmpfs(at, "size=1m") as below:
            (below / "file").write_bytes(b"x")
            assert _why_not(checking, below / "file") == checked.ELSEWHERE
        _run("btrfs", "subvolume", "create", at / "subvolume")
        _made(at / "subvolume" / "file")
        (at / "bound").mkdir()
        _run("mount", "--bind", at / "subvolume", at / "bound")
        try:
            assert _why_not(checking, at / "bound" / "file") == checked.ELSEWHERE
        finally:
            _run("umount", at / "bound")


def _row(filesystem: str, source: str, options: str) -> Row:
    return Row.parse(f"36 35 0:45 / /mnt rw,noatime shared:1 - {filesystem} {source} {options}\n".encode())


@pytest.mark.parametrize(
    ("filesystem", "options", "never"),
    [
        ("btrfs", "rw,space_cache=v2,subvolid=5,subvol=/", ""),
        ("btrfs", "rw,nodatasum,space_cache=v2", "nodatasum"),
        ("btrfs", "rw,nodatasum,nodatacow", "nodata"),
        ("btrfs", "rw,compress=zstd:3,nodatacow", "nodatacow"),
        ("btrfs", "ro,rescue=nologreplay,rescue=ignorebadroots", "rescue="),
        ("btrfs", "ro,rescue=ignoredatacsums", "ignoredatacsums"),
        ("bcachefs", "rw,compression=lz4", ""),
        ("zfs", "rw,xattr,noacl", "the command zfs"),
        ("ext4", "rw,data=ordered", "ext4"),
        ("xfs", "rw", "xfs"),
        ("tmpfs", "rw", "tmpfs"),
        ("nfs4", "rw", "nfs4"),
        ("overlay", "rw,lowerdir=/a", "overlay"),
        ("fuse.sshfs", "rw,user_id=0", "fuse.sshfs"),
    ],
)
def test_by_the_options_of_a_mount(filesystem: str, options: str, never: str) -> None:
    said = checked.why_never(_row(filesystem, "source", options))
    assert (never in said) if never else not said


@pytest.mark.parametrize(
    ("flags", "inode_flags", "checks"),
    [
        (0, 0, True),
        (0x00400000 | 4, 1 << 11, True),  # a symlink's and a compressed file's
        (_NOCOW, 0, False),
        (0, 1, False),
        (0, 2, False),
        (_NOCOW, 3, False),
    ],
)
def test_by_the_flags_of_a_file_on_btrfs(flags: int, inode_flags: int, checks: bool) -> None:
    assert (not checked.btrfs_why_not(flags, inode_flags)) == checks


def _search(count: int = 1, ino: int = 257, kind: int = 1, length: int = 160, flags: int = 0) -> bytes:
    key = struct.pack("=7Q4I32x", 5, 257, 257, 0, 0, 0, 0, 1, 1, count, 0)
    return (key + struct.pack("=QQQII", 9, ino, 0, kind, length) + bytes(64) + struct.pack("=Q", flags)).ljust(4096)


def test_an_inode_item_as_the_kernel_returns_it() -> None:
    assert checked.inode_item_flags(_search(flags=1), 257) == 1
    for found in (_search(count=0), _search(ino=258), _search(kind=12), _search(length=40)):
        with pytest.raises(OSError, match="was not found"):
            checked.inode_item_flags(found, 257)


@pytest.mark.parametrize(
    ("data_checksum", "nocow", "options", "checks"),
    [
        ("crc32c", None, "rw", True),
        ("xxhash", "0", "rw", True),
        ("none", None, "rw", False),
        ("none", None, "rw,data_checksum=crc64", False),
        ("crc32c", "1", "rw", False),
        ("crc32c", None, "rw,nocow", False),
        ("crc32c", "0", "rw,nocow", True),
        (None, None, "rw,data_checksum=crc64", True),
        (None, None, "rw,data_checksum=none", False),
        (None, None, "rw", False),
        ("what is new", None, "rw", False),
    ],
)
def test_by_what_bcachefs_shows(data_checksum: str | None, nocow: str | None, options: str, checks: bool) -> None:
    assert (not checked.bcachefs_why_not(data_checksum, nocow, options.split(","))) == checks


@pytest.mark.parametrize(
    ("checksum", "checks"),
    [
        ("on", True),
        ("fletcher4", True),
        ("blake3", True),
        ("off", False),
        ("noparity", False),
        ("", False),
        ("-", False),
    ],
)
def test_by_the_property_of_a_zfs(checksum: str, checks: bool) -> None:
    assert (not checked.zfs_why_never(checksum)) == checks
