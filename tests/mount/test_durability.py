"""What has reached the disk at the moment a call through the view returns, by a disk that records all writes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.store.ledger import Ledger
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted, clear
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import RecordingDisk, recording_disk, records
from tests.support.stores import file_in

pytestmark = pytest.mark.root

CONTENT = b"content " * 10_000
OTHER = b"OTHER BYTES " * 1_000


@contextmanager
def view_on(disk: RecordingDisk, mounted: Callable[..., Mounted]) -> Iterator[Mounted]:
    """A view on the disk; what it leaves is not looked at, for the disk is gone then."""
    (disk.at / "cache").mkdir()
    mount = mounted(disk.at / "cache")
    try:
        yield mount
        mount.umount()
    finally:
        clear(mount.path)
        wait_until_unused(disk.at)
    mount.finish()


@contextmanager
def power_cut(image: Path, log: Path, position: int) -> Iterator[Path]:
    """The filesystem as a machine finds it that starts again, if the power goes at a position in the log."""
    after = image.with_name(f"cut-{position}")
    shutil.copy(image, after)
    with after.open("r+b") as device:
        for record in records(log):
            if record.end <= position and record.data:
                device.seek(record.offset)
                device.write(record.data)
    with mounted_image(after, image.with_name("again")) as at:
        yield at
    after.unlink()


def test_what_was_fsynced_is_on_the_disk_when_the_call_returns(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    image = new_ext4_image(tmp_path / "image")
    with recording_disk(image, tmp_path) as disk, view_on(disk, mounted) as mount:
        positions = []
        for sync in (os.fsync, os.fdatasync):
            with (mount.path / sync.__name__).open("wb", buffering=0) as file:
                file.write(CONTENT)
                sync(file.fileno())
                positions.append((sync.__name__, disk.position()))
        (mount.path / "folder").mkdir()
        (mount.path / "file").write_bytes(b"")
        fd = os.open(mount.path, os.O_RDONLY)
        os.fsync(fd)
        positions.append(("folder", disk.position()))
        os.close(fd)
    for name, position in positions:
        with power_cut(image, disk.log, position) as at:
            found = at / "cache" / name
            assert found.is_dir() if name == "folder" else found.read_bytes() == CONTENT


def test_h17_a_seal_is_marked_as_broken_on_the_disk_before_sealed_bytes_change_there(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """O_DSYNC puts the bytes on the disk within the call that writes them: the mark must be there before them."""
    image = new_ext4_image(tmp_path / "image")
    with recording_disk(image, tmp_path) as disk, view_on(disk, mounted) as mount:
        path = mount.path / "file"
        path.write_bytes(CONTENT)
        mount.seal()
        number = path.stat().st_ino
        os.sync()
        fd = os.open(path, os.O_WRONLY | os.O_DSYNC)
        os.pwrite(fd, OTHER, 0)
        os.close(fd)
    changed = next(record.end for record in records(disk.log) if OTHER[:512] in record.data)
    with power_cut(image, disk.log, changed) as at:
        assert (at / "cache" / "file").read_bytes().startswith(OTHER[:512])
        with file_in(at / "cache.ipfsfs", "ledger") as file:
            ledger = Ledger.open(file)
            try:
                assert number in [ino for ino, _ in ledger.marks.all()]
            finally:
                ledger.close()
