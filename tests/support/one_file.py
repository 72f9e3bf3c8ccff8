"""A FUSE filesystem of one file, `image`, for the disks of tests: a loop device lies over it, and who serves it decides
what that reads and writes."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

_INODE: Final = 2


class Image(Protocol):
    """What the file holds."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def is_cached(self) -> bool:
        """Whether the kernel may keep what was read."""

    def read(self, offset: int, size: int) -> bytes:
        """Raises OSError, which the device answers with."""

    def write(self, offset: int, data: bytes) -> None:
        """Returns when it may be acknowledged."""

    def flush(self) -> None:
        """The cache of the device is to be on disk."""


@contextmanager
def mounted_disk(module: str, image: Path, directory: Path, *words: Path) -> Iterator[Path]:
    """Mount the filesystem in an image that `python -m module IMAGE MOUNTPOINT WORDS` serves; yields where. Needs
    root."""
    served, at = directory / "served", directory / "disk"
    served.mkdir()
    at.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", module, str(image), str(served), *map(str, words)], cwd=Path(__file__).parents[2]
    )
    try:
        deadline = time.monotonic() + 20
        while not (served / "image").exists():
            assert server.poll() is None, f"{module} did not start"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        loop = subprocess.run(
            ["losetup", "--find", "--show", served / "image"], check=True, capture_output=True, text=True
        ).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "nodiscard", loop, at], check=True)
            try:
                yield at
            finally:
                subprocess.run(["umount", at], check=True)
        finally:
            subprocess.run(["losetup", "--detach", loop], check=True)
    finally:
        # A mount namespace that was made meanwhile has a copy of the mount, and keeps the loop device in use.
        subprocess.run(["umount", "--lazy", served], check=False)
        server.terminate()
        server.wait(20)


def serve(image: Image, mountpoint: str, name: str) -> None:
    """Serve an image until it is unmounted."""
    import pyfuse3
    import trio

    class OneFile(pyfuse3.Operations):
        async def getattr(self, inode: int, ctx: pyfuse3.RequestContext | None = None) -> pyfuse3.EntryAttributes:
            shown = pyfuse3.EntryAttributes()
            shown.st_ino = inode
            is_file = inode == _INODE
            shown.st_mode = stat.S_IFREG | 0o600 if is_file else stat.S_IFDIR | 0o700
            shown.st_nlink = 1
            shown.st_size = image.size if is_file else 0
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
            how: dict[str, Any] = {"keep_cache": True} if image.is_cached else {"direct_io": True}
            return pyfuse3.FileInfo(fh=_INODE, **how)

        async def read(self, fh: int, off: int, size: int) -> bytes:
            try:
                return image.read(off, size)
            except OSError as error:
                raise pyfuse3.FUSEError(error.errno or errno.EIO) from error

        async def write(self, fh: int, off: int, buf: bytes) -> int:
            image.write(off, buf)
            return len(buf)

        async def fsync(self, fh: int, datasync: bool) -> None:
            image.flush()

        async def flush(self, fh: int) -> None:
            pass

    pyfuse3.init(OneFile(), mountpoint, {f"fsname={name}"})
    with suppress(KeyboardInterrupt):
        trio.run(pyfuse3.main)
    pyfuse3.close(unmount=False)
