"""The one hierarchy of errors: what went wrong, what to do next, and how callers of each kind learn of it.

Every error carries three answers: `errno` for a worker that meets it through a system call, `exit_code` for a script
that ran a command, and `retry` for code that may try again. The translation to errno happens once, in `ipfsfs.fuse`.
"""

from __future__ import annotations

import errno as _errno
from typing import ClassVar


class IpfsfsError(Exception):
    """An expected failure. `str(error)` says what happened; `hint`, where not empty, says what to do next."""

    errno: ClassVar[int] = _errno.EIO
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(IpfsfsError):
    """The caller asked for something that makes no sense as asked."""

    errno = _errno.EINVAL
    exit_code = 2


class MountError(IpfsfsError):
    """A view cannot be put up or taken down here, or nobody answers behind one."""


class IntegrityError(IpfsfsError):
    """Bytes are not what they were sealed as, or not what their name promises."""


class StoreError(IpfsfsError):
    """The store cannot be opened, locked, read or written."""


class StoreBusy(StoreError):
    """Another process holds the store."""


class SealerLost(IpfsfsError):
    """The sealing process died with the job, or cannot be started. It is started again; so may the job be."""

    retry = True


class FormatError(IpfsfsError):
    """Bytes from outside (a CID, a block, a message) are not what their format asks for."""

    errno = _errno.EBADMSG
