"""Asking the kernel whether a program can write to a file (H16), or has it open at all (H28)."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

_F_SETLEASE: Final = fcntl.F_SETLEASE
_F_GETLEASE: Final = fcntl.F_GETLEASE


class Writers(Enum):
    """What a lease told about who can write to a file."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


@contextmanager
def unwritten(fd: int) -> Iterator[None]:
    """While the block runs whoever wants to write to the file behind `fd` waits, or is refused (EAGAIN), by whatever
    path: for moments only. `fd` must be open for reading only. This process has to ignore SIGIO.

    Raises BlockingIOError where somebody can write now, OSError where the kernel cannot tell.
    """
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)
    try:
        yield
    finally:
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)


def is_wanted(fd: int) -> bool:
    """Whether somebody has tried to write since `unwritten` began."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK


def writers_of(fd: int) -> Writers:
    """Whether any descriptor or shared mapping, by whatever path, can write to the file behind `fd`.

    `fd` must be open for reading only. The lease is given back at once: a writer's open would wait for a lease that is
    held. `UNKNOWN` where the filesystem has no leases, or the file belongs to another user and we lack CAP_LEASE.
    """
    try:
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            return Writers.SOME
        return Writers.UNKNOWN
    fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE


class Users(Enum):
    """What a lease told about who else has a file open."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


def take_alone(fd: int) -> Users:
    """Have every open of the file behind `fd`, by whatever path, wait from now on, if `fd` is its only descriptor.

    `NONE`: it is, and the lease is held until `fd` is closed; the process must not heed SIGIO. Mappings count as
    descriptors, descriptors that only hold on to the file (O_PATH) do not. `UNKNOWN` as for `writers_of`.
    """
    try:
        fcntl.fcntl(fd, _F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        return Users.SOME if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK) else Users.UNKNOWN
    return Users.NONE


def is_still_alone(fd: int) -> bool:
    """Whether no program has tried to open the file since `take_alone`. Raises OSError."""
    return fcntl.fcntl(fd, _F_GETLEASE) == fcntl.F_WRLCK
