"""A disk with sectors that cannot be read: the reads of a loop device are answered by a FUSE filesystem of the tests,
which refuses some. The kernel's own means for this, dm-error and dm-dust, need a kernel with device mapper. Needs root.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.filesystems import new_ext4_image
from tests.support.processes import wait_until_unused
from tests.support.rot import physical

_INODE: Final = 2
SECTOR: Final = 512


@dataclass(slots=True, frozen=True)
class FailingDisk:
    """A mounted filesystem on such a device. `told`: the file that says which of its bytes cannot be read."""

    at: Path
    told: Path
    plain: int
    """A descriptor of the directory `cache`, which reaches it also when a view covers it."""

    @property
    def cache(self) -> Path:
        """The directory to mount a view over."""
        return self.at / "cache"

    def fail(self, name: str, offset: int) -> None:
        """From now on the disk cannot read a sector of a file, given by its path from `cache`."""
        fd = os.open(name, os.O_RDONLY, dir_fd=self.plain)
        try:
            os.fsync(fd)
            at = physical(fd, offset, 1) // SECTOR * SECTOR
            bad = [*json.loads(self.told.read_text()), [at, SECTOR]]
            new = self.told.with_suffix(".new")
            new.write_text(json.dumps(bad))
            new.rename(self.told)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


@contextmanager
def failing_disk(directory: Path, size_mib: int = 96) -> Iterator[FailingDisk]:
    """A disk of which all can be read until a test says otherwise; what is mounted over its `cache` must be gone when
    the block ends."""
    served, at, told = directory / "served", directory / "disk", directory / "bad.json"
    served.mkdir()
    at.mkdir()
    told.write_text("[]")
    image = new_ext4_image(directory / "disk.img", size_mib)
    words = [sys.executable, "-m", "tests.support.failing_disk", str(image), str(served), str(told)]
    server = subprocess.Popen(words, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 20
        while not (served / "image").exists():
            assert server.poll() is None, "the failing disk did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        find = ["losetup", "--find", "--show", str(served / "image")]
        loop = subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "nodiscard", loop, at], check=True)
            try:
                (at / "cache").mkdir()
                plain = os.open(at / "cache", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    yield FailingDisk(at, told, plain)
                finally:
                    os.close(plain)
                    wait_until_unused(at)
            finally:
                subprocess.run(["umount", at], check=True)
        finally:
            subprocess.run(["losetup", "--detach", loop], check=True)
    finally:
        subprocess.run(["umount", "--lazy", served], check=False)
        server.terminate()
        server.wait(20)


def main() -> None:
    """`python -m tests.support.failing_disk IMAGE MOUNTPOINT TOLD`: serve until unmounted."""
    import pyfuse3
    import trio

    image, mountpoint, told = os.open(sys.argv[1], os.O_RDWR), sys.argv[2], sys.argv[3]

    class Image(pyfuse3.Operations):
        """One file, parts of which cannot be read. Nothing of it is cached, so that each read asks here."""

        async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
            shown = pyfuse3.EntryAttributes()
            shown.st_ino = inode
            shown.st_mode = stat.S_IFREG | 0o600 if inode == _INODE else stat.S_IFDIR | 0o700
            shown.st_nlink = 1
            shown.st_size = os.fstat(image).st_size if inode == _INODE else 0
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
            return pyfuse3.FileInfo(fh=_INODE, direct_io=True)

        async def read(self, fh: int, off: int, size: int) -> bytes:
            bad: list[Any] = json.loads(Path(told).read_text())  # noqa: ASYNC240  a few bytes in memory
            if any(off < at + length and at < off + size for at, length in bad):
                raise pyfuse3.FUSEError(errno.EIO)
            return os.pread(image, size, off)

        async def write(self, fh: int, off: int, buf: bytes) -> int:
            return os.pwrite(image, buf, off)

        async def fsync(self, fh: int, datasync: bool) -> None:
            pass

        async def flush(self, fh: int) -> None:
            pass

    pyfuse3.init(Image(), mountpoint, {"fsname=failing-disk"})
    with suppress(KeyboardInterrupt):
        trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
