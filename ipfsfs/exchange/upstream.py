"""Filling in from an upstream: what a published tree has, and the view has not, becomes names in the view (H37).

Only what stays the same for as long as it is there: blobs of repositories, the links of snapshots that lead to them,
and plain content, as `Place.admits` and `Place.fills_in` say; all else of the tree is passed over, and counted. A name
that was there once is never made again: if it is gone, it was removed here. What is there is never replaced.

Names are made through the view, relative to directories that were reached without following a link (H35).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat as stat_
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from ipfsfs.caches.place import Place
from ipfsfs.errors import FormatError, OriginError
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.plain import syscalls
from ipfsfs.printed import printable
from ipfsfs.store.tables.upstream import NAMES_MAX
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.unixfs.tree_walk import TreeEntry

_SMALL: Final = 16 << 20
"""Bytes of a blob that is fetched whole, because its name is compared with its content at once."""
_PATHS_MAX: Final = 64 << 20
"""Bytes of all paths of a tree together."""
_BATCH: Final = 500
"""Names that are made, brought to the disk, and then remembered."""
_SHA256_OF_NOTHING: Final = hashlib.sha256().digest()
_OTHER_CONTENT: Final = "whose content is not what its name says"
_SHOWN: Final = 200
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Remembered(Protocol):
    """Which names were in the view once, by their digests. Durable."""

    def known(self, names: Sequence[bytes]) -> set[bytes]:
        """Which of these were. Raises IpfsfsError."""

    def add(self, names: Sequence[bytes]) -> None:
        """These are. Raises IpfsfsError."""


@dataclass(slots=True)
class FilledIn:
    """What became of a tree: names in it that may be filled in, those that were made, those that stay removed, and
    those that were passed over, with one of these in words."""

    names: int = 0
    made: int = 0
    removed: int = 0
    passed_over: int = 0
    example: str = ""

    def pass_over(self, path: bytes, why: str) -> None:
        """Count a name that is not made, and say why if it is the first."""
        self.passed_over += 1
        self.example = self.example or f"{printable(os.fsdecode(path))[:_SHOWN]}, {why}"


@dataclass(slots=True, frozen=True)
class _Wanted:
    """A name that may be made. `text`: of the link, be it a placeholder's; a file without one has to be fetched whole.
    `is_compared`: its name says then what its content is."""

    entry: TreeEntry
    text: bytes = b""
    is_compared: bool = False

    @property
    def path(self) -> bytes:
        return self.entry.path

    @property
    def turn(self) -> tuple[int, bytes]:
        """Directories, then content, then the links to it."""
        return {"directory": 0, "file": 1, "symlink": 2}[self.entry.kind], self.path


def digest_of(path: bytes) -> bytes:
    """By which a name is remembered."""
    return hashlib.sha256(path).digest()[:16]


@dataclass(slots=True)
class Upstream:
    """Fills in one tree at the root of a view, which is a `place`, and is open as `root_fd`."""

    origin: Origin
    root_fd: int
    place: Place
    remembered: Remembered
    report: Callable[[FilledIn], None]
    done: FilledIn = field(default_factory=FilledIn)

    async def run(self, root: bytes) -> FilledIn:
        """Fill in the tree below a CID. Raises OriginError, FormatError for a tree that is refused as a whole, OSError,
        and what `Remembered` raises."""
        wanted = sorted(self._allowed(await self._entries(root)), key=lambda want: want.turn)
        self.done.names = len(wanted)
        known = self.remembered.known([digest_of(want.path) for want in wanted])
        closed: set[bytes] = set()  # directories in which nothing is made
        there: set[bytes] = set()
        for at in range(0, len(wanted), _BATCH):
            await self._batch(wanted[at : at + _BATCH], known, closed, there)
            self.report(self.done)
        return self.done

    async def _entries(self, root: bytes) -> list[TreeEntry]:
        found: list[TreeEntry] = []
        size = 0
        async for batch in dag.tree(self.origin, root):
            found += batch
            size += sum(len(entry.path) for entry in batch)
            if len(found) > NAMES_MAX or size > _PATHS_MAX:
                raise FormatError(f"{cid.to_text(root)} has more than {min(len(found), NAMES_MAX):,} names")
        if not found or found[0].kind != "directory":
            raise FormatError(f"{cid.to_text(root)} is no directory")
        return found[1:]

    def _allowed(self, entries: Iterable[TreeEntry]) -> Iterator[_Wanted]:
        """What of a tree may be made; directories only where something is in them."""
        places: dict[bytes, Place | None] = {b"": self.place}
        repositories = {b"": b""}  # by directory, that of the repository which it is in
        listed = sorted(entries, key=lambda entry: entry.path.split(b"/"))
        directories = {entry.path: entry for entry in listed if entry.kind == "directory"}
        for path in directories:
            above, _, name = path.rpartition(b"/")
            place = places.get(above)
            below = place.enter(name) if place is not None and place.admits(name) else None
            places[path] = below
            repositories[path] = path if below is not None and below.is_repository else repositories[above]
            if place is not None and below is None:
                self.done.pass_over(path, "a directory that no upstream fills in")
        blobs: set[bytes] = set()
        used: set[bytes] = set()
        links: list[TreeEntry] = []
        for entry in listed:
            above, _, name = entry.path.rpartition(b"/")
            place = places.get(above)
            if entry.kind == "directory" or place is None:
                continue
            if not place.fills_in(name, is_link=entry.kind == "symlink"):
                self.done.pass_over(entry.path, "which no upstream fills in")
            elif entry.kind == "symlink":
                links.append(entry)
            elif (want := self._file(entry, place, name)) is not None:
                if place.receives_downloads:
                    blobs.add(entry.path)
                used.add(above)
                yield want
        for entry in links:
            target = _leads_to(entry)
            above = entry.path.rpartition(b"/")[0]
            if target in blobs and repositories[target.rpartition(b"/")[0]] == repositories[above]:
                used.add(above)
                yield _Wanted(entry, entry.target)
            else:
                self.done.pass_over(entry.path, "a link that leads to no blob of its repository in the tree")
        for path in _with_those_above(used):
            yield _Wanted(directories[path])

    def _file(self, entry: TreeEntry, place: Place, name: bytes) -> _Wanted | None:
        if entry.size is None:
            self.done.pass_over(entry.path, "of which it does not say how large it is")
            return None
        promise, is_blob = place.classify(name).promise, place.receives_downloads
        if entry.size and place.may_be_elsewhere(name) and (promise is not None or not is_blob):
            root = cid.dag_pb_cid(cid.digest(entry.cid)) if cid.codec(entry.cid) == cid.DAG_PB else entry.cid
            return _Wanted(entry, reference.text(Reference(root, entry.size, _mode(entry), entry.tsize)))
        if entry.size > _SMALL:
            self.done.pass_over(entry.path, "which is too large for its name to be compared with its content")
            return None
        if promise not in (None, _SHA256_OF_NOTHING):
            self.done.pass_over(entry.path, _OTHER_CONTENT)
            return None
        return _Wanted(entry, is_compared=is_blob and promise is None)

    async def _batch(self, wanted: list[_Wanted], known: set[bytes], closed: set[bytes], there: set[bytes]) -> None:
        seen: list[bytes] = []
        changed: set[bytes] = set()
        for want in wanted:
            above, _, _ = want.path.rpartition(b"/")
            if above in closed:
                if want.entry.kind == "directory":
                    closed.add(want.path)
                self.done.removed += 1
                continue
            digest = digest_of(want.path)
            is_there = await trio.to_thread.run_sync(self._is_there, want, closed)
            if not is_there and digest in known:
                self.done.removed += 1
                if want.entry.kind == "directory":
                    closed.add(want.path)
                continue
            if not is_there:
                if want.entry.kind == "symlink" and _leads_to(want.entry) not in there:
                    self.done.removed += 1  # what it leads to was removed here
                    continue
                data = await self._whole(want) if want.entry.kind == "file" and not want.text else b""
                if data is None:
                    continue
                if not await trio.to_thread.run_sync(self._make, want, data):
                    continue
                self.done.made += 1
                changed.add(above)
            if want.entry.kind == "file":
                there.add(want.path)
            if digest not in known:
                seen.append(digest)
        await trio.to_thread.run_sync(self._sync, changed)
        self.remembered.add(seen)

    def _is_there(self, want: _Wanted, closed: set[bytes]) -> bool:
        """Whether something is at a name. A directory that is no directory is closed to what is to be below it."""
        try:
            with self._above(want.path) as (fd, name):
                st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if want.entry.kind == "directory" and not stat_.S_ISDIR(st.st_mode):
            closed.add(want.path)
        return True

    async def _whole(self, want: _Wanted) -> bytes | None:
        """All bytes of a file whose name says what they are; None where it does not."""
        size = want.entry.size or 0
        try:
            data = await dag.whole(self.origin, want.entry.cid, size) if size else b""
        except FormatError as error:
            self.done.pass_over(want.path, f"which is damaged: {error}")
            return None
        name = os.path.basename(want.path)
        git = hashlib.sha1(b"blob %d\0" % size + data, usedforsecurity=False).hexdigest().encode()
        if want.is_compared and name not in (git, hashlib.sha1(data, usedforsecurity=False).hexdigest().encode()):
            self.done.pass_over(want.path, _OTHER_CONTENT)
            return None
        return data

    def _make(self, want: _Wanted, data: bytes) -> bool:
        """Make a name; returns whether it was made. Nothing is replaced, and what cannot be made is passed over."""
        try:
            with self._above(want.path) as (fd, name):
                above = os.fstat(fd)
                if want.entry.kind == "directory":
                    os.mkdir(name, dir_fd=fd)
                    _adopt(fd, name, above)
                elif want.text:
                    os.symlink(want.text, name, dir_fd=fd)
                    _own(fd, name, above)
                else:
                    _write(fd, name, data, above)
        except FileExistsError:  # another program was quicker: it is there
            return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM):
                raise
            self.done.pass_over(want.path, f"which cannot be made: {error.strerror}")
            return False
        return True

    def _sync(self, directories: Iterable[bytes]) -> None:
        for path in directories:
            with suppress(FileNotFoundError), self._above(path + b"/.") as (fd, _):
                os.fsync(fd)

    @contextmanager
    def _above(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The directory of a name, open, and the name in it. Raises OSError."""
        above, _, name = path.rpartition(b"/")
        fd = syscalls.open_beneath(self.root_fd, above, _DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)


def why_not(error: Exception) -> str:
    """Why an upstream was not filled in, in a line."""
    if isinstance(error, OSError):
        return f"{printable(os.fsdecode(error.filename or ''))}: {error.strerror}".lstrip(": ")
    kind = "cannot be had" if isinstance(error, OriginError) else "is refused"
    return f"it {kind}: {printable(str(error))}"


def _leads_to(entry: TreeEntry) -> bytes:
    """Where a link leads, by its text alone; empty for one that is absolute or leaves the tree."""
    if entry.target.startswith(b"/"):
        return b""
    at = entry.path.split(b"/")[:-1]
    for part in entry.target.split(b"/"):
        if part == b"..":
            if not at:
                return b""
            at.pop()
        elif part not in (b"", b"."):
            at.append(part)
    return b"/".join(at)


def _with_those_above(paths: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = path.rpartition(b"/")[0]
    return found


def _mode(entry: TreeEntry) -> int:
    """Nothing that comes so is executable, or written by others."""
    return entry.mode & 0o644 | 0o400


def _own(fd: int, name: bytes, above: os.stat_result) -> None:
    """What root makes belongs to whom the directory belongs to."""
    if os.geteuid() == 0:
        os.chown(name, above.st_uid, above.st_gid, dir_fd=fd, follow_symlinks=False)


def _adopt(fd: int, name: bytes, above: os.stat_result) -> None:
    """A directory is for those whom the one above it is for."""
    _own(fd, name, above)
    below = syscalls.open_beneath(fd, name, _DIRECTORY)
    try:
        os.fchmod(below, stat_.S_IMODE(above.st_mode) & ~stat_.S_ISVTX | 0o700)
    finally:
        os.close(below)


def _write(fd: int, name: bytes, data: bytes, above: os.stat_result) -> None:
    beside = b".%s.%s.hydrating" % (name[:60], secrets.token_hex(4).encode())
    try:
        with open(os.open(beside, _NEW, 0o644, dir_fd=fd), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _own(fd, beside, above)
        os.link(beside, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=fd)
