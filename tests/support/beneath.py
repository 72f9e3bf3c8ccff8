"""A plain directory reached around its view, and the ways in which another program changes a file there."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from typing import Final

from tests.support.mounted import Mounted

SIZE: Final = 700_000


def content(seed: int, size: int = SIZE) -> bytes:
    """Bytes that no other seed gives."""
    return random.Random(seed).randbytes(size)


@dataclass(slots=True)
class Beneath:
    """A mounted directory, and a descriptor of the plain directory from before."""

    mount: Mounted
    plain: int

    def fd(self, name: str, flags: int) -> int:
        return os.open(name, flags, 0o644, dir_fd=self.plain)

    def write(self, name: str, data: bytes, offset: int = 0, flags: int = os.O_WRONLY) -> None:
        fd = self.fd(name, flags)
        try:
            os.pwrite(fd, data, offset)
        finally:
            os.close(fd)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.plain)

    def rename(self, name: str, new_name: str) -> None:
        os.rename(name, new_name, src_dir_fd=self.plain, dst_dir_fd=self.plain)

    def make_directory(self, *names: str) -> None:
        """Make directories, one in the other, and two new files in the last of them."""
        for name in names:
            os.mkdir(name, dir_fd=self.plain)
        for file in ("config.json", "tokenizer.json"):
            self.write(f"{names[-1]}/{file}", b"new", flags=os.O_WRONLY | os.O_CREAT)

    def remove(self, name: str) -> None:
        """Remove a directory and all in it."""
        shutil.rmtree(name, dir_fd=self.plain)


def in_place(at: Beneath, name: str) -> bytes:
    at.write(name, content(2)[:100], 5000)
    return content(1)[:5000] + content(2)[:100] + content(1)[5100:]


def in_place_with_the_old_time(at: Beneath, name: str) -> bytes:
    before = at.stat(name)
    at.write(name, content(2))
    os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=at.plain)
    return content(2)


def replaced_by_rename(at: Beneath, name: str) -> bytes:
    at.write(name + ".new", content(2), flags=os.O_WRONLY | os.O_CREAT)
    os.rename(name + ".new", name, src_dir_fd=at.plain, dst_dir_fd=at.plain)
    return content(2)


def replaced_with_the_old_time(at: Beneath, name: str) -> bytes:
    before = at.stat(name)
    at.write(name + ".new", content(2), flags=os.O_WRONLY | os.O_CREAT)
    os.utime(name + ".new", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=at.plain)
    os.rename(name + ".new", name, src_dir_fd=at.plain, dst_dir_fd=at.plain)
    return content(2)


def removed_and_made_again(at: Beneath, name: str) -> bytes:
    os.unlink(name, dir_fd=at.plain)
    at.write(name, content(2), flags=os.O_WRONLY | os.O_CREAT)
    return content(2)


def truncated(at: Beneath, name: str) -> bytes:
    fd = at.fd(name, os.O_WRONLY)
    os.ftruncate(fd, 300_001)
    os.close(fd)
    return content(1)[:300_001]


def appended(at: Beneath, name: str) -> bytes:
    at.write(name, content(3, 200_000), SIZE)
    return content(1) + content(3, 200_000)


WAYS: Final = (
    in_place,
    in_place_with_the_old_time,
    replaced_by_rename,
    replaced_with_the_old_time,
    removed_and_made_again,
    truncated,
    appended,
)
