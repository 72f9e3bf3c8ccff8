"""The one hierarchy of errors: what went wrong, what to do next, and how callers of each kind learn of it.

Every error carries three answers: `errno` for a worker that meets it through a system call, `exit_code` for a script
that ran a command, and `retry` for code that may try again. The translation to errno happens once, in `ipfsfs.fuse`.
Between a command and its daemon an error travels by the name of its class.
"""

from __future__ import annotations

import errno as _errno
from typing import ClassVar, Final, NamedTuple


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
    """A view cannot be mounted or unmounted here, or there is none where the command needs one."""

    exit_code = 5


class InUse(MountError):
    """Programs have files open, so that a view cannot be mounted over them or unmounted; they are named."""

    exit_code = 3


class NoAnswer(MountError):
    """The daemon of a view cannot be reached, does not answer, or answers what this version does not understand."""


class IntegrityError(IpfsfsError):
    """Bytes are not what they were sealed as, or not what their name promises."""

    exit_code = 4


class StoreError(IpfsfsError):
    """The store cannot be opened, locked, read or written."""

    exit_code = 6


class NoRoom(StoreError):
    """The store cannot be written for now: its disk is full, or a quota is used up. It can be read."""

    retry = True


class StoreBusy(StoreError):
    """Another process holds the store."""

    exit_code = 3


class SealerLost(IpfsfsError):
    """The sealing process died with the job, or cannot be started. It is started again; so may the job be."""

    retry = True

    def __init__(self, message: str, *, hint: str = "The sealer is started again by itself: run this again.") -> None:
        super().__init__(message, hint=hint)


class Said(NamedTuple):
    """What an origin said that did not give what it was asked for: its name, and its words."""

    origin: str
    words: str


class OriginError(IpfsfsError):
    """An origin failed, or gave what is not what was asked for. `said`: by each of several that were asked."""

    def __init__(self, message: str, *, hint: str = "", said: tuple[Said, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.said = said


class NotHeld(OriginError):
    """An origin answered that it does not have the content."""


class OtherContent(NotHeld):
    """An origin gave all of a file, under the name that was asked for, and it is another content."""


class NoOrigin(NotHeld):
    """There is no origin to be asked."""


class Unreachable(OriginError):
    """An origin does not answer, or not within its time."""

    retry = True


class NotHere(IpfsfsError):
    """Bytes of a file that is not wholly here could not be had from any origin within the reader's patience."""


class FetcherLost(OriginError):
    """The fetching process died with the job, or cannot be started. It is started again; so may the job be."""

    retry = True


class FormatError(IpfsfsError):
    """Bytes from outside (a CID, a block, a message) are not what their format asks for."""

    errno = _errno.EBADMSG


BY_NAME: Final[dict[str, type[IpfsfsError]]] = {
    kind.__name__: kind
    for kind in (
        IpfsfsError,
        UsageError,
        MountError,
        InUse,
        NoAnswer,
        IntegrityError,
        StoreError,
        NoRoom,
        StoreBusy,
        SealerLost,
        OriginError,
        NotHeld,
        OtherContent,
        NoOrigin,
        Unreachable,
        NotHere,
        FetcherLost,
        FormatError,
    )
}
"""Every class of this page. A subclass that is not in here travels between processes as the nearest class that is."""
