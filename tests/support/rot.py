"""A disk that forgets: an image over a loop device, whose blocks are changed in the image beneath the filesystem.

Needs root. No cache of the whole machine is dropped, only what is cached of the file in question.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.plain.syscalls import filesystem_type
from tests.support.filesystems import mounted_image, new_image
from tests.support.processes import wait_until_unused

_FIEMAP: Final = 0xC020660B
_FIEMAP_SYNC: Final = 1
_HEADER: Final = struct.Struct("=QQIIII")  # start, length, flags, mapped extents, room for extents, reserved
_EXTENT: Final = struct.Struct("=QQQQQIIII")  # logical, physical, length, ...
_ROOM: Final = 64
_BTRFS: Final = 0x9123683E
_TREE_SEARCH: Final = 0xD0009411  # linux/btrfs.h
_SEARCH_KEY: Final = struct.Struct(
    "=7Q3I"
)  # tree; objectids, offsets, transactions from and to; types, number of items
_SEARCH_ITEM: Final = struct.Struct("=QQQII")  # transaction, objectid, offset, type, length
_CHUNK_TREE: Final = 3
_CHUNKS: Final = 256
_CHUNK_ITEM: Final = 228
_CHUNK: Final = struct.Struct("=Q48xQ")  # length; the offset of the first stripe on its device


@dataclass(slots=True, frozen=True)
class Disk:
    """A filesystem and the image it lies in. `plain` reaches the directory `cache` also when a view covers it."""

    image: Path
    at: Path
    plain: int

    @property
    def cache(self) -> Path:
        """The directory to mount a view over."""
        return self.at / "cache"

    def beneath(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a file by the plain path."""
        return os.open(name, flags, 0o644, dir_fd=self.plain)

    def forget(self, name: str, opened: int = -1) -> None:
        """Have a file on the disk, and nothing of it in the caches of the view or of the filesystem.

        `opened`: a descriptor of the file in the view, where it is not to be opened there once more.
        """
        in_view = os.dup(opened) if opened >= 0 else os.open(self.cache / name, os.O_RDONLY)
        for fd in (self.beneath(name), in_view):
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)

    def rot_in_store(self, path: Path, offset: int, length: int = 1) -> None:
        """Turn bits over of a file of the store, and forget what is cached of it."""
        turn_over(self.image, path, offset, length)

    def rot(self, name: str, offset: int, length: int = 1, opened: int = -1) -> None:
        """Turn bits of a file over on the disk, and forget what is cached of it; `opened` as for `forget`."""
        self.rot_beneath(name, offset, length)
        self.forget(name, opened)

    def rot_beneath(self, name: str, offset: int, length: int = 1) -> None:
        """Turn bits of a file over on the disk, and leave alone what is cached of it."""
        fd = self.beneath(name)
        try:
            at = physical(fd, offset, length)
        finally:
            os.close(fd)
        _turn_over(self.image, at, length)


@contextmanager
def spoilable_disk(
    directory: Path, size_mib: int = 128, kind: str = "ext4", options: tuple[str, ...] = ()
) -> Iterator[Disk]:
    """A disk, mounted with `options`, while the block runs; what is mounted over its `cache` must be gone by then."""
    with mounted_image(new_image(directory / "disk.img", kind, size_mib), directory / "disk", *options) as at:
        (at / "cache").mkdir()
        plain = os.open(at / "cache", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Disk(directory / "disk.img", at, plain)
        finally:
            os.close(plain)
            wait_until_unused(at)


def turn_over(image: Path, path: Path, offset: int, length: int) -> None:
    """Turn bits over of a file of a filesystem in an image, and forget what is cached of the file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        _turn_over(image, physical(fd, offset, length), length)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _turn_over(image: Path, at: int, length: int) -> None:
    fd = os.open(image, os.O_RDWR)
    try:
        os.pwrite(fd, bytes(byte ^ 0x40 for byte in os.pread(fd, length, at)), at)
    finally:
        os.close(fd)


def physical(fd: int, offset: int, length: int) -> int:
    """Where on the device the bytes lie, which must be in one extent."""
    request = bytearray(_HEADER.size + _ROOM * _EXTENT.size)
    _HEADER.pack_into(request, 0, offset, length, _FIEMAP_SYNC, 0, _ROOM, 0)
    fcntl.ioctl(fd, _FIEMAP, request)
    for number in range(_HEADER.unpack_from(request)[3]):
        logical, physical, size, *_ = _EXTENT.unpack_from(request, _HEADER.size + number * _EXTENT.size)
        if logical <= offset and offset + length <= logical + size:
            return _on_device(fd, int(physical + offset - logical))
    raise AssertionError(f"no extent holds bytes {offset} to {offset + length}")


def _on_device(fd: int, address: int) -> int:
    """Where an address of a filesystem lies on its device: Btrfs has addresses of its own, by chunks."""
    if filesystem_type(fd) != _BTRFS:
        return address
    search = bytearray(4096)
    _SEARCH_KEY.pack_into(
        search, 0, _CHUNK_TREE, _CHUNKS, _CHUNKS, 0, address, 0, 2**64 - 1, _CHUNK_ITEM, _CHUNK_ITEM, 16
    )
    fcntl.ioctl(fd, _TREE_SEARCH, search)
    at = _SEARCH_KEY.size + 36
    for _ in range(_SEARCH_KEY.unpack_from(search)[9]):
        _, _, start, _, length = _SEARCH_ITEM.unpack_from(search, at)
        size, stripe = _CHUNK.unpack_from(search, at + _SEARCH_ITEM.size)
        if start <= address < start + size:
            return int(stripe + address - start)
        at += _SEARCH_ITEM.size + length
    raise AssertionError(f"no chunk holds the address {address}")
