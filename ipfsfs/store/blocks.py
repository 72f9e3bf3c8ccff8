"""Blocks that were imported: each is a file of the store's directory `blocks`, and named by its CID.

A block never changes. Every process of the store's user may read blocks, and add some: a block gets its name once it is
written. What is read is compared with its name, for after a power cut a file may hold anything. All of it may be
removed at any time: that costs what has to be fetched or imported again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ipfsfs.errors import FormatError, StoreBusy, StoreError
from ipfsfs.store.directory import open_directory
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs.dagpb import BLOCK_MAX

NAME: Final = "blocks"
_NEW: Final = ".new"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Stored(NamedTuple):
    """A file of the directory. `cid`: the block that it is named by, None for one that was not finished. `size`: bytes
    that it takes on the disk."""

    name: str
    cid: bytes | None
    size: int


@dataclass(slots=True, frozen=True)
class Blocks:
    """The directory of blocks, by a descriptor of it."""

    fd: int

    @classmethod
    @contextmanager
    def of(cls, store: Path) -> Iterator[Blocks]:
        """The blocks of a store that another process may have open, while the block runs. Raises StoreError."""
        try:
            directory = open_directory(store, create=False)
            try:
                with suppress(FileExistsError):
                    os.mkdir(NAME, 0o700, dir_fd=directory)
                fd = os.open(NAME, _DIRECTORY, dir_fd=directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StoreError(f"the blocks of the store {store} cannot be used: {error.strerror}") from error
        try:
            yield cls(fd)
        finally:
            os.close(fd)

    def read(self, cid: bytes) -> bytes | None:
        """A block, compared with its CID; None where it is not here, or its file is damaged."""
        try:
            fd = os.open(_name(cid), _READ, dir_fd=self.fd)
        except (OSError, FormatError):
            return None
        return self._compared(cid, fd)

    def read_from_disk(self, cid: bytes) -> bytes | None:
        """The same, whatever is cached of it."""
        try:
            fd = os.open(_name(cid), _READ, dir_fd=self.fd)
        except (OSError, FormatError):
            return None
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return self._compared(cid, fd)

    @staticmethod
    def _compared(cid: bytes, fd: int) -> bytes | None:
        """What an open file holds, if that is the block. Closes it."""
        try:
            with open(fd, "rb") as file:
                block = file.read(BLOCK_MAX + 1)
            cids.check(cid, block)
        except (OSError, FormatError):
            return None
        return block

    def put(self, cid: bytes, block: bytes) -> bool:
        """Keep a block that was compared with its CID; returns whether it was not here before. Not durably: see `sync`.

        Raises OSError, FormatError for a CID that is not of sha2-256, raw or dag-pb.
        """
        if self.read(cid) is not None:
            return False
        new = f"{os.urandom(8).hex()}{_NEW}"
        try:
            with open(os.open(new, _WRITE, 0o600, dir_fd=self.fd), "wb") as file:
                file.write(block)
            os.rename(new, _name(cid), src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            with suppress(OSError):
                os.unlink(new, dir_fd=self.fd)
            raise
        return True

    def sync(self, added: Iterable[bytes]) -> None:
        """Return when these blocks are on the disk. Raises OSError."""
        for cid in added:
            fd = os.open(_name(cid), _READ, dir_fd=self.fd)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        os.fsync(self.fd)

    def has(self, cid: bytes) -> bool:
        """Whether there is a file for a block; what is in it was not looked at."""
        try:
            os.stat(_name(cid), dir_fd=self.fd, follow_symlinks=False)
        except (OSError, FormatError):
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file of the directory. Never raises for one that is gone. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def each(self) -> Iterator[Stored]:
        """All files of the directory, as it is now. Raises OSError."""
        own = os.open(".", _DIRECTORY, dir_fd=self.fd)
        try:
            with os.scandir(own) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        size = entry.stat(follow_symlinks=False).st_blocks * 512
                        yield Stored(entry.name, _cid(entry.name), size)
        finally:
            os.close(own)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs no other process imports or removes blocks, or comes to need some: what is imported is
        not named by a placeholder or a pin yet. Raises StoreBusy where one does.
        """
        with self._locked(fcntl.LOCK_EX, "another command imports, removes, attaches or pins blocks of the store"):
            yield

    @contextmanager
    def needing(self) -> Iterator[None]:
        """While the block runs no process imports or removes blocks: placeholders or pins are made that may need them.
        Raises StoreBusy where one does.
        """
        with self._locked(fcntl.LOCK_SH, "another command imports blocks into the store, or removes some"):
            yield

    @contextmanager
    def _locked(self, how: int, otherwise: str) -> Iterator[None]:
        own = os.open(".", _DIRECTORY, dir_fd=self.fd)
        try:
            try:
                fcntl.flock(own, how | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreBusy(otherwise, hint="Try again when it has ended.") from None
            yield
        finally:
            os.close(own)


def _name(cid: bytes) -> str:
    """By one name, whichever version the CID is of. Raises FormatError."""
    codec = cids.unixfs_codec(cid)
    if codec is None:
        raise FormatError(f"{cids.to_text(cid[:64])} names no block of UnixFS")
    digest = cids.digest(cid)
    return cids.to_text(cids.raw_cid(digest) if codec == cids.RAW else cids.dag_pb_cid(digest))


def _cid(name: str) -> bytes | None:
    try:
        return cids.from_text(name)
    except FormatError:
        return None
