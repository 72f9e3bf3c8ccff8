"""What can come of a job. None of these is an exception: each is something the caller goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.identity import Identity


@dataclass(slots=True, frozen=True)
class Sealed:
    """The file was hashed, and its identity was the same before and after.

    `leaves` and `sums` are packed as in `ipfsfs.store.seal`; `sha256` is of the whole file, empty where it was neither
    asked for nor free. `leased`: nobody could write before or after (H16).
    """

    identity: Identity
    root: bytes
    leaves: bytes
    sums: bytes
    sha256: bytes
    leased: bool


@dataclass(slots=True, frozen=True)
class Digest:
    """The sha2-256 of a whole file, whose identity was the same before and after. Bytes that were followed while they
    were being written were hashed then (`followed` of them). `lasting`: a later write changes the mtime, so that it can
    be told whether the digest still holds."""

    identity: Identity
    sha256: bytes
    followed: int
    lasting: bool


@dataclass(slots=True, frozen=True)
class Verified:
    """A file was read again, from disk. What is wrong with it, empty where nothing is.

    `bad_units`: offsets of units whose checksum differs. `bad_leaves`: offsets of leaves whose sha2-256 differs.
    `kept_promise`: None where no sha2-256 was given for the whole. `unchanged`: the identity was the expected one
    before and after; where it was not, what differs was written and is no rot. `unreadable`: the disk refused part of
    it (EIO).
    """

    bad_units: tuple[int, ...]
    bad_leaves: tuple[int, ...]
    kept_promise: bool | None
    unchanged: bool
    unreadable: bool = False


@dataclass(slots=True, frozen=True)
class Shared:
    """Two files of the same content share their blocks, or would: `bytes` did not before."""

    bytes: int


@dataclass(slots=True, frozen=True)
class Busy:
    """Not now: the file is open for writing, or has changed a moment ago. Try again later: after `rest_s` seconds where
    that is known, else 0."""

    reason: str
    rest_s: float = 0.0


@dataclass(slots=True, frozen=True)
class Changed:
    """The file changed while it was read."""


@dataclass(slots=True, frozen=True)
class Gone:
    """No such file: the name is gone, is no regular file, or is another inode's by now."""


@dataclass(slots=True, frozen=True)
class Secret:
    """The content gives a secret away: nothing was hashed."""

    identity: Identity


@dataclass(slots=True, frozen=True)
class Unfit:
    """No seal can hold this file as it is now: another try is of no use before it changes."""

    identity: Identity
    reason: str


@dataclass(slots=True, frozen=True)
class Failed:
    """The filesystem refused. `errno` as from the system call."""

    errno: int
    message: str
