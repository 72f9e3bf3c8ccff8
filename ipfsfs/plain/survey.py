"""What lies below a directory, with what its names say: for an account of a whole cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from ipfsfs.caches.place import Place
from ipfsfs.plain import syscalls

BATCH: Final = 256
"""Entries that are looked at between two yields."""

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(slots=True, frozen=True)
class Directory:
    """A directory: its path from where the walk began, what it is, and the path of the repository it is in, if any."""

    path: bytes
    place: Place
    repository: bytes | None

    def below(self, name: bytes) -> Directory:
        """The directory of a name in it."""
        path = self.path + b"/" + name if self.path else name
        place = self.place.enter(name)
        repository = path if self.repository is None and place.is_repository else self.repository
        return Directory(path, place, repository)


class Seen(NamedTuple):
    """A file, or a link that may stand for one: the directory it is in, its name and attributes, and a link's text."""

    directory: Directory
    name: bytes
    st: os.stat_result
    text: bytes | None


class Closed(NamedTuple):
    """A directory that could not be listed, and why."""

    path: bytes
    errno: int


def last_used_ns(st: os.stat_result) -> int:
    """When a file was used last, in ns since the epoch, as far as the filesystem tells: most write down the first read
    after a change, and then one a day."""
    return max(st.st_atime_ns, st.st_mtime_ns)


def survey(root_fd: int, place: Place) -> Iterator[list[Seen | Closed]]:
    """Yields the files below a directory, and links that may stand for files, in batches, some of them empty; every 256
    entries at the latest. Links within snapshots are passed over, unseen.

    No link is followed and no other filesystem entered. What comes and goes meanwhile may or may not be found.
    """
    dev = os.fstat(root_fd).st_dev
    pending = [Directory(b"", place, b"" if place.is_repository else None)]
    batch: list[Seen | Closed] = []
    looked = 0
    while pending:
        directory = pending.pop()
        try:
            fd = syscalls.open_beneath(root_fd, directory.path, _LIST)
        except FileNotFoundError:
            continue
        except OSError as error:
            batch.append(Closed(directory.path, error.errno or 0))
            continue
        try:
            if os.fstat(fd).st_dev != dev:
                continue
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(directory.below(name))
                    elif (seen := _seen(fd, directory, name, entry)) is not None:
                        batch.append(seen)
                    looked += 1
                    if looked % BATCH == 0:
                        yield batch
                        batch = []
        except OSError as error:
            batch.append(Closed(directory.path, error.errno or 0))
        finally:
            os.close(fd)
    yield batch


def links(root_fd: int, place: Place) -> Iterator[tuple[os.stat_result, bytes]]:
    """Yields attributes and texts of the links below a directory that may stand for files. Costs little where there are
    few: of all else only the names are read. What cannot be read is passed over; as `survey` in all other ways."""
    dev = os.fstat(root_fd).st_dev
    pending = [Directory(b"", place, None)]
    while pending:
        directory = pending.pop()
        try:
            fd = syscalls.open_beneath(root_fd, directory.path, _LIST)
        except OSError:
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries if os.fstat(fd).st_dev == dev else ():
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(directory.below(name))
                    elif entry.is_symlink() and (seen := _seen(fd, directory, name, entry)) is not None:
                        assert seen.text is not None
                        yield seen.st, seen.text
        except OSError:
            continue
        finally:
            os.close(fd)


def _seen(fd: int, directory: Directory, name: bytes, entry: os.DirEntry[str]) -> Seen | None:
    """None for what is no file, no link that may stand for one, or gone."""
    try:
        if entry.is_file(follow_symlinks=False):
            return Seen(directory, name, entry.stat(follow_symlinks=False), None)
        if entry.is_symlink() and directory.place.may_be_elsewhere(name):
            return Seen(directory, name, entry.stat(follow_symlinks=False), os.readlink(name, dir_fd=fd))
    except OSError:
        return None
    return None
