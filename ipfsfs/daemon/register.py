"""Where this user has had views: for `status`, which is to know of those that are mounted no more.

One small file for each mount point, below XDG_STATE_HOME. It says where the store is; how things stand with the view is
in the store. A file goes when its store has gone.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.daemon import mounts
from ipfsfs.daemon.codec import decode, encode
from ipfsfs.daemon.endings import read_note
from ipfsfs.daemon.placing import state_directory
from ipfsfs.errors import FormatError, MountError, StoreError
from ipfsfs.store.directory import open_directory

_NAME: Final = "views"
_ENTRIES_MOST: Final = 10_000


@dataclass(slots=True, frozen=True)
class Entry:
    """A mount point, and the store of its last view."""

    mountpoint: Path
    store: Path


def enter(entry: Entry) -> None:
    """Put a view down, before it is mounted, for the register may lie beneath it. Raises OSError and StoreError."""
    if entry in entries():
        return
    directory = open_directory(state_directory() / _NAME, create=True)
    name = _name(entry.mountpoint)
    fresh = f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(fresh, flags, 0o600, dir_fd=directory), "w", encoding="ascii") as file:
            file.write(json.dumps(encode(entry)) + "\n")
        os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=directory)
        os.close(directory)


def entries() -> list[Entry]:
    """All views that were put down and whose stores are there; none where a view whose daemon hangs covers them."""
    try:
        around = mounts.view_over(state_directory())
        if around is not None and not mounts.answers(around):
            return []
        directory = open_directory(state_directory() / _NAME)
    except (MountError, StoreError, OSError):
        return []
    found = []
    try:
        for name in sorted(os.listdir(directory))[:_ENTRIES_MOST]:
            with suppress(OSError, ValueError, FormatError):
                entry = decode(Entry, read_note(directory, name))
                if os.path.isdir(entry.store):
                    found.append(entry)
                elif os.path.isdir(entry.store.parent):  # else it may lie on a disk that is not there just now
                    os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
    return found


def store_of(mountpoint: Path) -> Path | None:
    """The store of the last view at a mount point."""
    return next((entry.store for entry in entries() if entry.mountpoint == mountpoint), None)


def _name(mountpoint: Path) -> str:
    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:32]
