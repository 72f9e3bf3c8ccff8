"""What the sealer does to one file: each job a generator that yields the bytes done, a step at a time, and returns what
came of it. A job that is closed half-way closes its files."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from ipfsfs.caches.secret import SEARCH_MAX, looks_secret
from ipfsfs.identity import Identity
from ipfsfs.plain import quiet
from ipfsfs.plain.identities import hidden_for_ns, identity_of
from ipfsfs.plain.lease import Writers, writers_of
from ipfsfs.plain.quiet import DirectFile, QuietFile
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.workers.sealer import hashing
from ipfsfs.workers.sealer.hashing import Held
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Sealed, Secret, Unfit, Verified

T = TypeVar("T")

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EINVAL, errno.ESTALE, errno.ENXIO)


@dataclass(slots=True, frozen=True)
class Root:
    """The plain root: a descriptor (O_PATH), and the device whose files are sealed."""

    fd: int
    dev: int

    @classmethod
    def at(cls, fd: int) -> Root:
        """The root that `fd` is open to. Raises OSError."""
        return cls(fd, os.fstat(fd).st_dev)


@contextmanager
def opened(root: Root, path: bytes, ino: int | None) -> Iterator[int]:
    """The descriptor of a regular file on the root's device, with this inode where one is given.

    Raises FileNotFoundError where another file stands there, OSError as `quiet.open_regular`.
    """
    fd = quiet.open_regular(root.fd, path)
    try:
        st = os.fstat(fd)
        if ino is not None and st.st_ino != ino:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if st.st_dev != root.dev:
            raise OSError(errno.EXDEV, "it is on another filesystem than the mounted directory", path)
        yield fd
    finally:
        os.close(fd)


def failure(error: OSError) -> Gone | Failed:
    """What an error from opening or reading a file means for a job."""
    if error.errno in _GONE:
        return Gone()
    return Failed(error.errno or errno.EIO, error.strerror or str(error))


def seal(
    root: Root, path: bytes, ino: int | None, chunker: Chunker, buffer: memoryview, *, whole: bool
) -> Generator[int, None, Sealed | Busy | Changed | Gone | Secret | Unfit | Failed]:
    """Hash a file that nobody is writing to."""
    try:
        with opened(root, path, ino) as fd:
            return (yield from _while_named(fd, _seal(fd, chunker, buffer, whole=whole)))
    except hashing.EndedEarly:
        return Changed()
    except BlockingIOError:
        return Busy("somebody holds a lease on it")
    except OSError as error:
        return failure(error)


def _seal(
    fd: int, chunker: Chunker, buffer: memoryview, *, whole: bool
) -> Generator[int, None, Sealed | Busy | Changed | Secret | Unfit]:
    # The lease comes before the identity at both ends (H16): who writes after the first was refused or has set a new
    # mtime; who began before the second is seen by it, who began after has not written what was hashed.
    before = writers_of(fd)
    identity = identity_of(fd)
    if before is Writers.SOME:
        return Busy("it is open for writing")
    if rest_ns := hidden_for_ns(identity.ctime_ns):
        return Busy("it was changed a moment ago", rest_ns / 1e9)
    if not identity.can_be_kept():
        return Unfit(identity, "one of its times lies beyond the year 2262, which no seal can hold")
    source = QuietFile(fd, identity.size)
    if identity.size <= SEARCH_MAX:
        view = memoryview(bytearray(identity.size))
        content = Held(bytes(view[: source.read_into(view, 0)]))
        if looks_secret(content.data):
            return Secret(identity) if identity_of(fd) == identity else Changed()
        hashed = yield from hashing.hash_file(content, identity.size, chunker, buffer, whole=whole)
        source.release(identity.size)
    else:
        try:
            hashed = yield from hashing.hash_file(source, identity.size, chunker, buffer, whole=whole)
        except hashing.TooLarge:
            return Unfit(identity, "it is too large: its leaves and checksums are more than a seal can hold")
    after = writers_of(fd)
    if identity_of(fd) != identity:
        return Changed()
    if after is Writers.SOME:
        return Busy("it was opened for writing")
    leased = before is after is Writers.NONE
    return Sealed(identity, hashed.root, hashed.leaves, hashed.sums, hashed.sha256, leased)


def _while_named(fd: int, steps: Generator[int, None, T]) -> Generator[int, None, T]:
    """Go on with a job for as long as its file has a name: one that was removed is to give back its blocks.

    Raises FileNotFoundError.
    """
    while True:
        try:
            count = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if not os.fstat(fd).st_nlink:
            steps.close()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        yield count


def settle(root: Root, path: bytes, identity: Identity) -> bool:
    """Have a file's bytes on disk. Whether it still had this identity, before and after."""
    try:
        with opened(root, path, identity.ino) as fd:
            if identity_of(fd) != identity:
                return False
            os.fdatasync(fd)
            return identity_of(fd) == identity
    except OSError:
        return False


def verify(
    root: Root, path: bytes, identity: Identity, leaves: bytes | None, sums: bytes, sha256: bytes, buffer: memoryview
) -> Generator[int, None, Verified | Gone | Failed]:
    """Read a file again from disk and compare it with what it was sealed as; without leaves, the checksums alone."""
    expected = unpack_leaves(leaves) if leaves is not None else None
    try:
        with opened(root, path, identity.ino) as fd, _from_disk(fd, identity.size) as source:
            unchanged = identity_of(fd) == identity
            steps = hashing.compare(source, identity.size, expected, sums, buffer, whole=bool(sha256))
            found = yield from _while_named(fd, steps)
            unchanged = unchanged and identity_of(fd) == identity
    except hashing.EndedEarly:
        return Verified((), (), None, False)
    except OSError as error:
        return failure(error)
    kept_promise = found.sha256 == sha256 if sha256 else None
    return Verified(found.units, found.leaves, kept_promise, unchanged, found.unreadable)


def read(root: Root, path: bytes, ino: int, buffer: memoryview) -> Generator[int, None, Verified | Gone | Failed]:
    """Read a file again from disk, with nothing to compare it with, and hash nothing: it may be a secret."""
    try:
        with opened(root, path, ino) as fd:
            size = os.fstat(fd).st_size
            with _from_disk(fd, size) as source:
                unreadable = yield from _while_named(fd, hashing.read(source, size, buffer))
    except hashing.EndedEarly:
        return Verified((), (), None, False)
    except OSError as error:
        return failure(error)
    return Verified((), (), None, True, unreadable)


@contextmanager
def _from_disk(fd: int, size: int) -> Iterator[DirectFile | QuietFile]:
    """The file past the page cache; where that cannot be, after the page cache was asked to let go of it."""
    direct = DirectFile.beside(fd, size)
    if direct is None:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        yield QuietFile(fd, size)
        return
    try:
        yield direct
    finally:
        direct.close()
