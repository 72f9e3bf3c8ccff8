"""Files that a team's rules do not fit, because they were made without them: finding them, and mending them.

Never followed: a link; never entered: another filesystem, and `lost+found`; never touched: what is secret by its name,
and files with set-user-id or set-group-id bits. A file with several names is mended only where the kernel lets nobody
give a name to another user's file (`fs.protected_hardlinks`): else one of its names could be anywhere.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.place import Kind, Place
from ipfsfs.plain import entries, held, syscalls

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NAMED_MOST: Final = 8
_OF_THE_FILESYSTEM: Final = b"lost+found"


@dataclass(slots=True)
class Misfits:
    """What was found below a directory. Paths are relative to it; of each kind the first eight are named."""

    looked: int = 0
    """Files and directories that were looked at."""
    misfits: int = 0
    """Those that the group cannot use, update or remove as its own."""
    mended: int = 0
    open_secrets: int = 0
    """Secrets that others than their owner could read on plain disk."""
    is_whole: bool = True
    """Whether there was time to look at everything."""
    named: list[bytes] = field(default_factory=list)
    secrets: list[bytes] = field(default_factory=list)
    failed: list[tuple[bytes, str]] = field(default_factory=list)
    """What could not be looked at or mended, and why."""
    failures: int = 0

    def misfit(self, path: bytes) -> None:
        """A file does not fit."""
        self.misfits += 1
        if len(self.named) < _NAMED_MOST:
            self.named.append(path)

    def fail(self, path: bytes, error: OSError | str) -> None:
        """A file could not be looked at or mended."""
        self.failures += 1
        if len(self.failed) < _NAMED_MOST:
            self.failed.append((path, error if isinstance(error, str) else error.strerror or str(error)))


def wanted_mode(mode: int) -> int:
    """The permission bits that a file or directory with this mode has in a team's cache."""
    bits = stat.S_IMODE(mode)
    if stat.S_ISDIR(mode):
        return bits | 0o2070
    return bits | (bits & 0o700) >> 3


def fits(st: os.stat_result, gid: int) -> bool:
    """Whether every member of the group can use a file as its owner can. Of links and special files it is not asked."""
    if not stat.S_ISDIR(st.st_mode) and not stat.S_ISREG(st.st_mode):
        return True
    return st.st_gid == gid and stat.S_IMODE(st.st_mode) == wanted_mode(st.st_mode)


def look(top: int, place: Place, gid: int, *, within_s: float | None, mend: bool) -> Misfits:
    """Look at everything below the directory that `top` is a descriptor of, itself included, and have it fit where
    `mend`; for at most `within_s` seconds. What is mended stays mended when this is interrupted. Raises OSError."""
    found = Misfits()
    deadline = None if within_s is None else time.monotonic() + within_s
    _one(top, b"", os.fstat(top), gid, found, mend=mend)
    for directory, path, name, st in _each(top, place, found):
        if deadline is not None and time.monotonic() > deadline:
            found.is_whole = False
            break
        found.looked += 1
        if _is_secret(directory.place, name, st):
            if st.st_mode & 0o077 and stat.S_ISREG(st.st_mode):
                found.open_secrets += 1
                found.secrets += [path] * (len(found.secrets) < _NAMED_MOST)
        elif not fits(st, gid):
            _open_and_one(directory.fd, name, path, st, gid, found, mend=mend)
    return found


@dataclass(slots=True, frozen=True)
class _Directory:
    fd: int
    place: Place


def _each(top: int, place: Place, found: Misfits) -> Iterator[tuple[_Directory, bytes, bytes, os.stat_result]]:
    """Yields all below a directory, each after the directory that it is in."""
    dev = os.fstat(top).st_dev
    pending = [(b"", place)]
    while pending:
        above, here = pending.pop()
        try:
            fd = syscalls.open_beneath(top, above, _LIST)
        except OSError as error:
            if error.errno != errno.ENOENT:
                found.fail(above, error)
            continue
        try:
            for name in entries.each(fd):
                try:
                    st = entries.stat(fd, name)
                except FileNotFoundError:
                    continue
                if st.st_dev != dev or (name == _OF_THE_FILESYSTEM and not above):
                    continue
                path = above + b"/" + name if above else name
                if stat.S_ISDIR(st.st_mode):
                    pending.append((path, here.enter(name)))
                yield _Directory(fd, here), path, name, st
        except OSError as error:
            found.fail(above, error)
        finally:
            os.close(fd)


def _is_secret(place: Place, name: bytes, st: os.stat_result) -> bool:
    return not stat.S_ISDIR(st.st_mode) and place.classify(name).kind is Kind.SECRET


def _open_and_one(
    dir_fd: int, name: bytes, path: bytes, st: os.stat_result, gid: int, found: Misfits, *, mend: bool
) -> None:
    try:
        fd = entries.look(dir_fd, name)
    except OSError as error:
        if error.errno != errno.ENOENT:
            found.fail(path, error)
        return
    try:
        if os.fstat(fd).st_ino == st.st_ino:
            _one(fd, path, os.fstat(fd), gid, found, mend=mend)
    finally:
        os.close(fd)


def _one(fd: int, path: bytes, st: os.stat_result, gid: int, found: Misfits, *, mend: bool) -> None:
    if fits(st, gid):
        return
    found.misfit(path)
    if not mend:
        return
    if stat.S_ISREG(st.st_mode) and st.st_mode & 0o6000:
        found.fail(path, "it has a set-user-id or set-group-id bit")
        return
    if stat.S_ISREG(st.st_mode) and st.st_nlink > 1 and not _links_are_protected():
        found.fail(path, "it has several names, and fs.protected_hardlinks is off")
        return
    try:
        mode = wanted_mode(st.st_mode)
        if st.st_gid != gid:
            held.chown(fd, -1, gid)
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.chmod(b"/proc/self/fd/%d" % fd, mode)
        found.mended += 1
    except OSError as error:
        found.fail(path, error)


def _links_are_protected() -> bool:
    try:
        with open("/proc/sys/fs/protected_hardlinks", encoding="ascii") as setting:
            return setting.read().strip() != "0"
    except OSError:
        return False
