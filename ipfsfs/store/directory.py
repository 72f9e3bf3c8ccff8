"""Opening the store's directory so that no other user can lead us to another one.

A user who may rename a directory can put another one, or a symlink, in its place. Root's store must therefore lie where
root alone can rename. The path is followed one name at a time, and each directory is checked before it is used.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Final

from ipfsfs.errors import StoreError

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_MOST: Final = 40
"""Symlinks on the way to a directory: as many as the kernel follows."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class UnsafePlace(StoreError):
    """A directory could be replaced by another user."""


def open_directory(path: Path, *, create: bool = False) -> int:
    """A descriptor of a directory. With `create` it is made, and those above it, each for us alone.

    Raises UnsafePlace where we are root and another user could replace it, and OSError.
    """
    walk = _Walk(path)
    try:
        while walk.names:
            walk.step(create=create)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=walk.fd)
    finally:
        os.close(walk.fd)


def is_safe(path: Path) -> bool:
    """Whether no other user could replace a directory at a path, which need not exist. Always true for other users than
    root, whose stores are not held to this."""
    try:
        os.close(open_directory(path))
    except UnsafePlace:
        return False
    except OSError:
        pass
    return True


class _Walk:
    """On the way to a directory: `fd` is of the directory reached so far, `names` are those to come, the last first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = _names(os.path.join(os.getcwd(), path))
        self.links = 0
        self.fd = os.open("/", _STEP)

    def step(self, *, create: bool) -> None:
        """Go to the next directory, or take up where a symlink leads."""
        name = self.names.pop()
        directory = os.fstat(self.fd)
        self._refuse(directory, None)
        fd = self._open(name, create=create)
        try:
            entry = os.fstat(fd)
            self._refuse(directory, entry)
            if stat.S_ISLNK(entry.st_mode):
                self._follow(os.readlink("", dir_fd=fd))
            else:
                self.fd, fd = fd, self.fd
        finally:
            os.close(fd)

    def _open(self, name: str, *, create: bool) -> int:
        try:
            return os.open(name, _STEP, dir_fd=self.fd)
        except FileNotFoundError:
            if not create:
                raise
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(name, 0o700, dir_fd=self.fd)
        return os.open(name, _STEP, dir_fd=self.fd)

    def _follow(self, target: str) -> None:
        self.links += 1
        if self.links > _LINKS_MOST:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(self.path))
        self.names += _names(target)
        if target.startswith("/"):
            os.close(self.fd)
            self.fd = os.open("/", _STEP)

    def _refuse(self, directory: os.stat_result, entry: os.stat_result | None) -> None:
        """Raises UnsafePlace where another user could put something else in the place of an entry of a directory."""
        if os.geteuid() != 0:
            return
        sticky = directory.st_mode & stat.S_ISVTX
        at = os.readlink(f"/proc/self/fd/{self.fd}")
        if not _is_trusted(directory.st_uid):
            who, remedy = f"user {directory.st_uid} owns", ""
        elif directory.st_mode & _OTHERS_WRITE and not sticky:
            who, remedy = "other users may write to", f" Or let each rename only what is theirs: chmod +t {quote(at)}"
        elif directory.st_mode & _OTHERS_WRITE and entry is not None and not _is_trusted(entry.st_uid):
            who, remedy = f"user {entry.st_uid} owns what the path leads to in", ""
        else:
            return
        raise UnsafePlace(
            f"root's store cannot lie at {self.path}: {who} {at}, and could put something else in its place",
            hint=f"With --store, choose a directory that only root can rename, such as one in /var/lib/ipfsfs.{remedy}",
        )


def _names(path: str) -> list[str]:
    """The names in a path, the last one first. `..` is one of them: it is what the directory itself says."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _is_trusted(uid: int) -> bool:
    """Whether a user may be able to rename what root relies on: root; in a user namespace also who has no number in it,
    for the true root of the machine is shown so."""
    return uid == 0 or (uid == _overflow_uid() and not _has_all_users())


def _has_all_users() -> bool:
    """Whether every user has a number here: false in a user namespace such as that of a container."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _overflow_uid() -> int:
    return int(Path("/proc/sys/kernel/overflowuid").read_text())
