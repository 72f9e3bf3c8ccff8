"""What regular files there are below a directory of the plain root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ipfsfs.identity import Identity
from ipfsfs.plain import syscalls

BATCH: Final = 256
"""Entries that are looked at between two yields."""

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(slots=True, frozen=True)
class Found:
    """A regular file. `path` is from the plain root."""

    path: bytes
    identity: Identity

    @property
    def ino(self) -> int:
        """Its inode."""
        return self.identity.ino

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.identity.size


@dataclass(slots=True, frozen=True)
class Unreadable:
    """A directory that could not be listed, and the errno that said so."""

    path: bytes
    errno: int


def files(root_fd: int) -> Iterator[Found]:
    """Yields all regular files below the root, as `regular_files` finds them."""
    for batch in regular_files(root_fd):
        yield from (item for item in batch if isinstance(item, Found))


def regular_files(root_fd: int, prefix: bytes = b"") -> Iterator[list[Found | Unreadable]]:
    """Yields what is below `prefix`, or is `prefix`, in batches, some of them empty; every 256 entries at the latest.

    No symlink is followed and no other filesystem entered. What comes and goes meanwhile may or may not be found.
    """
    dev = os.fstat(root_fd).st_dev
    pending = [prefix.strip(b"/")]
    batch: list[Found | Unreadable] = []
    looked = 0
    while pending:
        above = pending.pop()
        try:
            dir_fd = syscalls.open_beneath(root_fd, above, _LIST)
        except NotADirectoryError:
            batch += _prefix_itself(root_fd, above, dev)
            continue
        except FileNotFoundError:
            continue
        except OSError as error:
            batch.append(Unreadable(above, error.errno or 0))
            continue
        try:
            with os.scandir(dir_fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    path = above + b"/" + name if above else name
                    if entry.is_dir(follow_symlinks=False):
                        if _device(dir_fd, name) == dev:
                            pending.append(path)
                    elif not entry.is_symlink():
                        batch += _regular(dir_fd, name, path, dev)
                    looked += 1
                    if looked % BATCH == 0:
                        yield batch
                        batch = []
        except OSError as error:
            batch.append(Unreadable(above, error.errno or 0))
        finally:
            os.close(dir_fd)
    yield batch


def _prefix_itself(root_fd: int, path: bytes, dev: int) -> list[Found]:
    above, _, name = path.rpartition(b"/")
    try:
        dir_fd = syscalls.open_beneath(root_fd, above, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return []
    try:
        return _regular(dir_fd, name, path, dev)
    finally:
        os.close(dir_fd)


def _regular(dir_fd: int, name: bytes, path: bytes, dev: int) -> list[Found]:
    """The file of a name, if it is a regular one on this filesystem and has not gone."""
    try:
        at = syscalls.statx(dir_fd, name)
    except OSError:
        return []
    if not stat.S_ISREG(at.mode) or at.dev != dev:
        return []
    return [Found(path, Identity(at.dev, at.ino, at.born_ns, at.size, at.mtime_ns, at.ctime_ns))]


def _device(dir_fd: int, name: bytes) -> int:
    try:
        return syscalls.statx(dir_fd, name).dev
    except OSError:
        return -1
