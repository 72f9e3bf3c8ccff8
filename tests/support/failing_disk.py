"""A disk with sectors that cannot be read: the reads of a loop device are answered by a FUSE filesystem of the tests,
which refuses some. The kernel's own means for this, dm-error and dm-dust, need a kernel with device mapper. Needs root.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.filesystems import new_ext4_image
from tests.support.one_file import mounted_disk, serve
from tests.support.processes import wait_until_unused
from tests.support.rot import physical

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
    told = directory / "bad.json"
    told.write_text("[]")
    image = new_ext4_image(directory / "disk.img", size_mib)
    with mounted_disk("tests.support.failing_disk", image, directory, told) as at:
        (at / "cache").mkdir()
        plain = os.open(at / "cache", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield FailingDisk(at, told, plain)
        finally:
            os.close(plain)
            wait_until_unused(at)


@dataclass(slots=True)
class _Failing:
    """Fills `Image`. Nothing of it is cached, so that each read asks here."""

    fd: int
    told: Path
    is_cached: bool = False

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def read(self, offset: int, size: int) -> bytes:
        bad: list[list[int]] = json.loads(self.told.read_text())
        if any(offset < at + length and at < offset + size for at, length in bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(self.fd, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        os.pwrite(self.fd, data, offset)

    def flush(self) -> None:
        """Nobody cuts the power of this one."""


def main() -> None:
    """`python -m tests.support.failing_disk IMAGE MOUNTPOINT TOLD`: serve until unmounted."""
    image, mountpoint, told = sys.argv[1:4]
    serve(_Failing(os.open(image, os.O_RDWR), Path(told)), mountpoint, "failing-disk")


if __name__ == "__main__":
    main()
