"""A block device that records what reaches it, so that its power can be cut afterwards, at any moment.

An image is served through FUSE as one file, and lies under a loop device: each write of the device and each flush of
its cache arrives here, in order, and is put down before it is answered. The kernel's own means for this, dm-log-writes,
needs a kernel with device mapper; loop devices and FUSE are needed anyway. Needs root.

A record is the offset (8 bytes, big-endian) and the length (4), then as many bytes; a flush has the length 0.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.one_file import mounted_disk, serve

RECORD: Final = struct.Struct(">QI")


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
    log = directory / "writes"
    with mounted_disk("tests.support.recording_disk", image, directory, log) as at:
        yield RecordingDisk(at, log)


@dataclass(slots=True)
class _Recorded:
    """Fills `Image`: nothing is answered before it stands in the log."""

    content: bytearray
    log: int
    is_cached: bool = True

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self.content[offset : offset + len(data)] = data
        os.write(self.log, RECORD.pack(offset, len(data)) + data)

    def flush(self) -> None:
        os.write(self.log, RECORD.pack(0, 0))


def main() -> None:
    """`python -m tests.support.recording_disk IMAGE MOUNTPOINT LOG`: serve until unmounted."""
    image, mountpoint, log = sys.argv[1:4]
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    serve(_Recorded(bytearray(Path(image).read_bytes()), fd), mountpoint, "recording-disk")


if __name__ == "__main__":
    main()
