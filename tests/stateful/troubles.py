"""Reasons for calls to fail, on the filesystem that view and plain directory lie on. Needs root."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.filesystems import mounted_image, new_image

SIZE_MIB: Final = 400
RESERVE: Final = 8 << 20
_GET_FLAGS: Final = 0x80086601
_SET_FLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x10


@dataclass(slots=True, frozen=True)
class Disk:
    """A mounted image of a kind of filesystem. Both directories are in `room`."""

    kind: str
    at: Path
    room: Path

    def troubles(self) -> dict[str, Callable[[list[bytes]], AbstractContextManager[None]]]:
        """What can be the matter, by name: each takes the paths of the file that is to be used, one on either side."""
        found: dict[str, Callable[[list[bytes]], AbstractContextManager[None]]] = {
            "immutable": immutable,
            "full": lambda _: self.full(),
            "read-only": lambda _: self.read_only(),
        }
        if self.kind == "btrfs":  # the quotas of ext4 and XFS are left out of many kernels
            found["quota"] = lambda _: self.over_quota()
        return found

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a block is free."""
        ballast = os.open(self.at / "ballast", os.O_CREAT | os.O_WRONLY)
        try:
            for size in (8 << 20, 1 << 20, 4096, 1):
                fill(ballast, size)
            os.fsync(ballast)
            fill(ballast, 4096)
            yield
        finally:
            os.ftruncate(ballast, 0)
            os.close(ballast)
            os.unlink(self.at / "ballast")
            os.sync()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Mounted anew, as after an error of the disk."""
        subprocess.run(["mount", "-o", "remount,ro", self.at], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", self.at], check=True)

    @contextmanager
    def over_quota(self) -> Iterator[None]:
        """The subvolume may not grow. What is kept in reserve makes room for the end of the limit itself."""
        reserve = self.room / "reserve"
        reserve.write_bytes(os.urandom(RESERVE))
        os.sync()
        show = ["btrfs", "qgroup", "show", "--raw", "-f", str(self.room)]
        shown = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        (used,) = re.findall(r"^0/\d+ +(\d+)", shown, re.MULTILINE)
        subprocess.run(["btrfs", "qgroup", "limit", used, self.room], check=True)
        try:
            yield
        finally:
            reserve.unlink()
            os.sync()
            subprocess.run(["btrfs", "qgroup", "limit", "none", self.room], check=True)


@contextmanager
def new_disk(kind: str, beside: Path) -> Iterator[Disk]:
    """A new filesystem while the block runs."""
    with mounted_image(new_image(beside / "image", kind, SIZE_MIB), beside / "disk") as at:
        room = at / "room"
        if kind == "btrfs":
            commands: list[list[str | Path]] = [["subvolume", "create", room], ["quota", "enable", at]]
            for command in commands:
                subprocess.run(["btrfs", *command], check=True, capture_output=True)
        else:
            room.mkdir()
        yield Disk(kind, at, room)


@contextmanager
def immutable(paths: list[bytes]) -> Iterator[None]:
    """As by `chattr +i`."""
    for path in paths:
        _set(path, _IMMUTABLE)
    try:
        yield
    finally:
        for path in paths:
            _set(path, 0)


def fill(fd: int, size: int) -> None:
    """Write until there is no room for that many bytes."""
    data = bytes(size)
    try:
        while os.write(fd, data):
            pass
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _set(path: bytes, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        (now,) = struct.unpack("=q", fcntl.ioctl(fd, _GET_FLAGS, bytes(8))[:8])
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("=q", now & ~_IMMUTABLE | flags))
    finally:
        os.close(fd)
