"""Asking the kernel whether anybody can write to a file (H16)."""

from __future__ import annotations

import errno
import fcntl
from enum import Enum
from typing import Final

_F_SETLEASE: Final = fcntl.F_SETLEASE


class Writers(Enum):
    """What a lease told about who can write to a file."""

    NONE = "none"
    SOME = "some"
    UNKNOWN = "unknown"


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
