"""A block device that records what reaches it, so that its power can be cut afterwards, at any moment.

An image is served through FUSE as one file, and lies under a loop device: each write of the device and each flush of
its cache arrives here, in order, and is put down before it is answered. The kernel's own means for this, dm-log-writes,
needs a kernel with device mapper; loop devices and FUSE are needed anyway. Needs root.

A record is the offset (8 bytes, big-endian) and the length (4), then as many bytes; a flush has the length 0.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RECORD: Final = struct.Struct(">QI")
_INODE: Final = 2


@dataclass(slots=True, frozen=True)
class Record:
    """Something that reached the device. `end`: the position in the log behind it. No data: a flush."""

    end: int
    offset: int
    data: bytes

    @property
    def is_flush(self) -> bool:
        return not self.data


@dataclass(slots=True, frozen=True)
class RecordingDisk:
    """A mounted filesystem on such a device."""

    at: Path
    log: Path

    def position(self) -> int:
        """Where in the log we are: what is acknowledged now was written before this position."""
        return self.log.stat().st_size


def records(log: Path) -> Iterator[Record]:
    """All that reached the device, in order."""
    with log.open("rb") as file:
        while header := file.read(RECORD.size):
            offset, length = RECORD.unpack(header)
            yield Record(file.tell() + length, offset, file.read(length))


@contextmanager
def recording_disk(image: Path, directory: Path) -> Iterator[RecordingDisk]:
    """Mount an ext4 image, which stays as it is, and record what is written from then on."""
    served, at, log = directory / "served", directory / "disk", directory / "writes"
    served.mkdir()
    at.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.recording_disk", image, served, log], cwd=Path(__file__).parents[2]
    )
    try:
        _wait_for(served / "image", server)
        loop = subprocess.run(
            ["losetup", "--find", "--show", served / "image"], check=True, capture_output=True, text=True
        ).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "nodiscard", loop, at], check=True)
            try:
                yield RecordingDisk(at, log)
            finally:
                subprocess.run(["umount", at], check=True)
        finally:
            subprocess.run(["losetup", "--detach", loop], check=True)
    finally:
        # A mount namespace that was made meanwhile has a copy of the mount, and keeps the loop device in use.
        subprocess.run(["umount", "--lazy", served], check=False)
        server.terminate()
        server.wait(20)


def _wait_for(path: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert server.poll() is None, "the recording disk did not start"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def main() -> None:
    """`python -m tests.support.recording_disk IMAGE MOUNTPOINT LOG`: serve until unmounted."""
    import pyfuse3
    import trio

    image_path, mountpoint, log_path = sys.argv[1:4]
    image = bytearray(Path(image_path).read_bytes())
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Image(pyfuse3.Operations):
        """One file. Nothing is answered before it stands in the log."""

        async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
            shown = pyfuse3.EntryAttributes()
            shown.st_ino = inode
            is_file = inode == _INODE
            shown.st_mode = stat.S_IFREG | 0o600 if is_file else stat.S_IFDIR | 0o700
            shown.st_nlink = 1
            shown.st_size = len(image) if is_file else 0
            shown.entry_timeout = shown.attr_timeout = 3600.0
            return shown

        async def lookup(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
            if name != b"image":
                raise pyfuse3.FUSEError(errno.ENOENT)
            return await self.getattr(_INODE)

        async def setattr(
            self, inode: int, attr: pyfuse3.EntryAttributes, fields: object, fh: int | None, ctx: object
        ) -> pyfuse3.EntryAttributes:
            return await self.getattr(inode)

        async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
            return pyfuse3.FileInfo(fh=_INODE, keep_cache=True)

        async def read(self, fh: int, off: int, size: int) -> bytes:
            return bytes(image[off : off + size])

        async def write(self, fh: int, off: int, buf: bytes) -> int:
            image[off : off + len(buf)] = buf
            os.write(log, RECORD.pack(off, len(buf)) + buf)
            return len(buf)

        async def fsync(self, fh: int, datasync: bool) -> None:
            os.write(log, RECORD.pack(0, 0))

        async def flush(self, fh: int) -> None:
            pass

    pyfuse3.init(Image(), mountpoint, {"fsname=recording-disk"})
    with contextlib.suppress(KeyboardInterrupt):
        trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
