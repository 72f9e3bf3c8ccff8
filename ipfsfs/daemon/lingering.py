"""Daemons that have given their path back, and still serve files that are open: each has a note in its store.

A daemon holds its note locked for as long as it lives: a note that can be locked is that of a daemon which is gone. The
store itself is free meanwhile, so that the next view has it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.daemon.codec import decode, encode
from ipfsfs.daemon.endings import local_time, read_note
from ipfsfs.daemon.outsiders import Outsider
from ipfsfs.errors import FormatError

NAME: Final = "lingering"
_NOTES_MOST: Final = 100
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True, frozen=True)
class Lingering:
    """A daemon whose view is gone from its path."""

    pid: int
    mountpoint: Path
    """Where its view was."""
    mount_id: int
    device: int
    """Of its view."""
    since: int
    """When the path was given back, in seconds since the epoch."""

    @property
    def when(self) -> str:
        """When, in local time."""
        return local_time(self.since)


@dataclass(slots=True, frozen=True)
class StillUsed:
    """What is left of a view that is at its path no more."""

    over: bool
    """Whether nothing is: the daemon is about to end."""
    open_files: int
    users: list[Outsider]
    """The processes that hold them, as far as the daemon's user may see that."""
    places: list[str]
    """Where else the view is mounted: other paths, and other mount namespaces."""


@contextmanager
def noted(store_fd: int, lingering: Lingering) -> Iterator[None]:
    """Have a note in the store while the block runs. Raises OSError."""
    with suppress(FileExistsError):
        os.mkdir(NAME, 0o700, dir_fd=store_fd)
    directory = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=store_fd)
    name = str(lingering.pid)
    try:
        with suppress(FileNotFoundError):
            os.unlink(f".{name}", dir_fd=directory)
        fd = os.open(f".{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=directory)
        with open(fd, "w", encoding="ascii") as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            file.write(json.dumps(encode(lingering)))
            file.flush()
            os.rename(f".{name}", name, src_dir_fd=directory, dst_dir_fd=directory)  # locked and whole
            try:
                yield
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def find(store_fd: int) -> list[Lingering]:
    """The daemons of a store that still serve open files of views that are gone. Notes of dead ones are taken away."""
    try:
        directory = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=store_fd)
    except OSError:
        return []
    try:
        found = [_read(directory, name) for name in sorted(os.listdir(directory))[:_NOTES_MOST] if name.isdigit()]
    finally:
        os.close(directory)
    return [one for one in found if one is not None]


def _read(directory: int, name: str) -> Lingering | None:
    with suppress(OSError, ValueError, FormatError):
        if _is_left_over(directory, name):
            os.unlink(name, dir_fd=directory)
        else:
            return decode(Lingering, read_note(directory, name))
    return None


def _is_left_over(directory: int, name: str) -> bool:
    """Whether no living daemon holds a note."""
    fd = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=directory)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
