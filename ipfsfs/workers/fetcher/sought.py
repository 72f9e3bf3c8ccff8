"""By what a whole file is known that is sought on the Hub: a digest of its content, or its CID."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from ipfsfs.unixfs import cid, recut
from ipfsfs.workers.fetcher import table
from ipfsfs.workers.fetcher.job import Answer

_STEP: Final = 4 << 20
_SHA256_DIGITS: Final = 64


class Sought(Protocol):
    """Tells whether a file is the one that is sought."""

    @property
    def shown(self) -> str:
        """What users are told that it is known by."""

    def found(self, fd: int) -> Answer | None:
        """The answer of the job, if an open file, which is on disk when this returns, is the one; else None. Waits for
        the disk. Raises OSError."""


@dataclass(slots=True, frozen=True)
class ByDigest:
    """A file by a digest in hex: of 64 digits the sha2-256, of 40 git's own of a blob or the plain sha1. The answer has
    its `sha256`."""

    digest: str

    @property
    def shown(self) -> str:
        """As `Sought`."""
        return self.digest

    def found(self, fd: int) -> Answer | None:
        """As `Sought`."""
        os.fsync(fd)
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        blob = hashlib.sha1(b"blob %d\0" % os.fstat(fd).st_size, usedforsecurity=False)
        is_sha256 = len(self.digest) == _SHA256_DIGITS
        for data in _contents(fd):
            sha256.update(data)
            if not is_sha256:
                sha1.update(data)
                blob.update(data)
        found = (sha256.hexdigest(),) if is_sha256 else (blob.hexdigest(), sha1.hexdigest())
        return Answer({"sha256": sha256.hexdigest()}) if self.digest in found else None


@dataclass(slots=True, frozen=True)
class ByRoot:
    """A file of `size` bytes by its CID, in however many blocks. The answer has the table of its leaves."""

    root: bytes
    size: int

    @property
    def shown(self) -> str:
        """As `Sought`."""
        return cid.to_text(self.root)

    def found(self, fd: int) -> Answer | None:
        """As `Sought`."""
        if os.fstat(fd).st_size != self.size:
            return None
        leaves = recut.leaves(partial(_read, fd), self.size, self.root)
        if leaves is None:
            return None
        os.fsync(fd)
        records, offset = [], 0
        for leaf, length in leaves:
            records.append(table.pack(offset, length, leaf))
            offset += length
        return Answer({}, b"".join(records))


def _contents(fd: int) -> Iterator[bytes]:
    at = 0
    while data := os.pread(fd, _STEP, at):
        at += len(data)
        yield data


def _read(fd: int, offset: int, length: int) -> bytes:
    return os.pread(fd, length, offset)
