"""The note `ended` in a store: the daemon of the view ended, and nobody had asked for that.

The guardian writes it, under the store's lock. It stays until the view is mounted or unmounted again: then the user has
seen to it. A guardian that is to start the daemon again goes on only while its note is there.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from ipfsfs.daemon.codec import decode, encode
from ipfsfs.errors import FormatError

NAME: Final = "ended"
_NOTE_MOST: Final = 16_384

How = Literal["died", "silent", "failed"]
"""`died`: by a signal, or it exited without a word. `silent`: the guardian ended it, for it answered nothing. `failed`:
it met an error that it could not go on with; its log says which."""


@dataclass(slots=True, frozen=True)
class Ended:
    """The end of a daemon that was not asked for."""

    pid: int
    at: int
    """When, in seconds since the epoch."""
    how: How
    status: int | None = None
    """Its exit code, or minus the number of the signal that ended it; None where the kernel did not tell."""
    gave_up: str = ""
    """Why it is not started again, though it was to be; empty while it may be."""

    @property
    def when(self) -> str:
        """When, in local time."""
        return local_time(self.at)

    @property
    def in_words(self) -> str:
        """How it ended, as the end of a sentence: `was ended by SIGKILL`."""
        match self.how:
            case "silent":
                return "answered nothing for too long, and was ended by its guardian"
            case "failed":
                return "met an error that it could not go on with (its log says which)"
        if self.status is None:
            return "ended without a word, as by a signal"
        if self.status >= 0:
            return f"ended without a word (exit code {self.status})"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        why = " (by a user, or by the kernel for want of memory)" if name == "SIGKILL" else ""
        return f"was ended by {name}{why}"


def local_time(at: int) -> str:
    """Seconds since the epoch, for a person; the number where it is of no year."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return str(at)


def write(store_fd: int, ended: Ended) -> None:
    """Note an end, on disk. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(f"{NAME}.new", flags, 0o600, dir_fd=store_fd), "w", encoding="ascii") as file:
        file.write(json.dumps(encode(ended)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{NAME}.new", NAME, src_dir_fd=store_fd, dst_dir_fd=store_fd)


def read(store_fd: int) -> Ended | None:
    """The note in a store; None where there is none, or none that makes sense."""
    with suppress(OSError, ValueError, FormatError):
        return decode(Ended, read_note(store_fd, NAME))
    return None


def forget(store_fd: int) -> bool:
    """Take the note away, because the view is mounted or unmounted again; whether there was one. Raises OSError."""
    try:
        os.unlink(NAME, dir_fd=store_fd)
    except FileNotFoundError:
        return False
    return True


def read_note(dir_fd: int, name: str) -> dict[str, Any]:
    """A small file of JSON in a store. Raises OSError, and ValueError where it is anything else."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    with open(fd, "rb") as file:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_size > _NOTE_MOST:
            raise ValueError(f"{name} is no note")
        try:
            note = json.loads(file.read(_NOTE_MOST))
        except RecursionError as error:
            raise ValueError(f"{name} is no note") from error
    if not isinstance(note, dict):
        raise ValueError(f"{name} is no note")
    return note
