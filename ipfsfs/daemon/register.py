"""Where this user has had views: for `status`, which is to know of those that are mounted no more, and for all that
look for the store of a directory.

One small file for each mount point, below XDG_STATE_HOME. It says where the store is, and which directory it is of; how
things stand with the view is in the store. A file goes when its store has gone. A file of another user is no note.
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
from ipfsfs.identity import PlainRoot
from ipfsfs.store.directory import open_directory

_NAME: Final = "views"
_ENTRIES_MOST: Final = 10_000


@dataclass(slots=True, frozen=True)
class Entry:
    """A mount point, and the store of its last view. `inode` and `born_ns` tell which directory that was of, however it
    is named by now; notes of earlier versions do not say it."""

    mountpoint: Path
    store: Path
    inode: int | None = None
    born_ns: int | None = None

    def is_of(self, root: PlainRoot) -> bool:
        """Whether the store is that of a directory, as far as the note tells."""
        return self.inode is None or (self.inode, self.born_ns) == (root.ino, root.born_ns)


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
    directory = _directory()
    if directory < 0:
        return []
    found = []
    try:
        for name in sorted(os.listdir(directory))[:_ENTRIES_MOST]:
            with suppress(OSError, ValueError, FormatError):
                entry = _read(directory, name)
                if os.path.isdir(entry.store):
                    found.append(entry)
                elif os.path.isdir(entry.store.parent):  # else it may lie on a disk that is not there just now
                    os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)
    return found


def noted(mountpoint: Path) -> Entry | None:
    """What was put down of the last view at a mount point, be its store there or not."""
    directory = _directory()
    if directory < 0:
        return None
    try:
        entry = _read(directory, _name(mountpoint))
        return entry if entry.mountpoint == mountpoint else None
    except (OSError, ValueError, FormatError):
        return None
    finally:
        os.close(directory)


def _directory() -> int:
    """A descriptor of where the notes are; -1 where they cannot be read."""
    try:
        around = mounts.view_over(state_directory())
        if around is not None and not mounts.answers(around):
            return -1
        return open_directory(state_directory() / _NAME)
    except (MountError, StoreError, OSError):
        return -1


def _read(directory: int, name: str) -> Entry:
    """Raises OSError, ValueError, FormatError where it is no note of ours."""
    if os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid != os.geteuid():
        raise ValueError(f"{name} is another user's")
    return decode(Entry, read_note(directory, name))


def _name(mountpoint: Path) -> str:
    return hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:32]
