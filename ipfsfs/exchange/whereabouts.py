"""Where the Hub has a file of the cache: what the cache's own links and listings say of it.

`snapshots/<commit>/<path>` links to a blob, and `trees/<commit>.json` lists the digests of a revision. Either may have
been written by anyone: the repository is always the one whose directory the file is in, and the user's token is used
only where the link or listing is the user's own (H41).
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.huggingface import repository_over, shared_blob
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.plain import syscalls
from ipfsfs.unixfs import reference

_COMMIT: Final = re.compile(rb"[0-9a-f]{40}")
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}|[0-9a-f]{40}")
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")
_SHARED: Final = re.compile(rb"(?:(.+)/)?blobs/[0-9a-f]{2}/([0-9a-f]{64})", re.DOTALL)
_REPOSITORY: Final = re.compile(rb"(?:models|datasets|spaces|kernels)--[^/]+", re.DOTALL)
_ENTRIES_MOST: Final = 200_000
"""Names that are looked at in one repository."""
_DEPTH: Final = 4
"""How far below a path repositories are looked for: `~/.cache`, `huggingface`, `hub`, the repository."""
_LISTING_MOST: Final = 32 << 20
"""Bytes of all listings of an answer: that of 100,000 files has some 20 MB."""
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
FILES_MOST: Final = 8
"""Files, and listings, of an answer."""


@dataclass(slots=True, frozen=True)
class Link:
    """A link in a snapshot: its path from the plain root, what it leads to, and who made it."""

    path: bytes
    target: bytes
    owner: int


@dataclass(slots=True, frozen=True)
class Listing:
    """A repository's listing of a revision, as it lies there. `file`: with an empty path. `stamp`: inode and mtime."""

    file: HubFile
    text: bytes
    stamp: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Whereabouts:
    """What is known of where the Hub has a file. `listings` have yet to be read: files are looked for in them that have
    one of the `digests` by which this one is named in its repositories."""

    files: list[HubFile] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """The names that links in snapshots give it."""


@dataclass(slots=True, frozen=True)
class Missing:
    """A file that links lead to and that is not there: its path from the plain root, and the digest that it must have,
    as the name says it (64 digits of a sha2-256, 40 of git's)."""

    path: bytes
    digest: str


def names_of(root_fd: int, path: bytes) -> list[bytes]:
    """The paths of blobs that stand for what is at a path: itself, or, in the client's shared store, the links of
    repositories that lead to it. Waits for the disk."""
    store = shared_store(path)
    return [path] if store is None else [link.path for link in blob_links(root_fd, store) if link.target == path]


def shared_store(path: bytes) -> bytes | None:
    """The directory of a clients' shared store, from the plain root, where a file of one is at a path."""
    shared = _SHARED.fullmatch(path)
    return None if shared is None or repository_over(path) is not None else shared[1] or b""


@dataclass(slots=True)
class SharedPromises:
    """What is promised of files in the client's shared stores of a directory, by the names of the blobs that lead to
    them. The links of a store are read when it is asked for first."""

    root_fd: int
    _stores: dict[bytes, dict[bytes, set[bytes]]] = field(default_factory=dict)

    def of(self, path: bytes) -> bytes | None:
        """The sha256 that a file at a path from the plain root must have; None where no link says one, links disagree,
        or it lies in no such store. Waits for the disk."""
        hub = shared_store(path)
        if hub is None:
            return None
        if hub not in self._stores:
            promised = self._stores[hub] = {}
            for link in blob_links(self.root_fd, hub):
                name = link.path.rpartition(b"/")[2]
                if _SHA256.fullmatch(name):
                    promised.setdefault(link.target, set()).add(name)
        names = self._stores[hub].get(path, set())
        return bytes.fromhex(next(iter(names)).decode()) if len(names) == 1 else None


def snapshot_links(root_fd: int, directory: bytes) -> Iterator[tuple[bytes, bytes, Link]]:
    """The links of a repository's snapshots, with their commit, and the path below it. Waits for the disk."""
    for commit in _commits(root_fd, directory, b"snapshots", b""):
        prefix = _join(directory, b"snapshots", commit)
        for link in _links(root_fd, prefix):
            yield commit, link.path[len(prefix) + 1 :], link


def blob_links(root_fd: int, hub: bytes) -> Iterator[Link]:
    """The blobs of all repositories in a directory that are links. Waits for the disk."""
    for name in _names(root_fd, hub):
        if _REPOSITORY.fullmatch(name):
            yield from _links(root_fd, _join(hub, name, b"blobs"), depth=0)


def whereabouts(root_fd: int, path: bytes) -> Whereabouts:
    """Where the Hub has the blob at a path below the plain root. Waits for the disk; never raises."""
    found, room = Whereabouts(), _LISTING_MOST
    for blob in names_of(root_fd, path):
        over, name = repository_over(blob), blob.rpartition(b"/")[2]
        if over is None or not _DIGEST.fullmatch(name):
            continue
        if name.decode() not in found.digests:
            found.digests.append(name.decode())
        directory, kind, repository = over
        for commit, below, link in snapshot_links(root_fd, directory):
            if link.target in (blob, path):
                name_there = os.fsdecode(below)
                file = HubFile(kind, repository, commit.decode(), name_there, link.owner == os.geteuid())
                found.files.append(file)
                found.names.add(name_there)
        commits = _commits(root_fd, directory, b"trees", b".json")
        paths = {commit: _join(directory, b"trees", commit + b".json") for commit in commits}
        # The user's own come first: whoever else may write there could crowd them out.
        for commit in sorted(commits, key=lambda commit: not _is_ours(root_fd, paths[commit])):
            if len(found.listings) == FILES_MOST:
                break
            listing = _listing(root_fd, paths[commit], room)
            if listing is not None:
                text, st = listing
                room -= len(text)
                nowhere = HubFile(kind, repository, commit.decode(), "", st.st_uid == os.geteuid())
                found.listings.append(Listing(nowhere, text, (st.st_ino, st.st_mtime_ns)))
    found.files = sorted(set(found.files), key=lambda file: not file.with_token)[:FILES_MOST]
    return found


def missing(root_fd: int, path: bytes) -> list[Missing]:
    """What links of snapshots lead to and is not there: in the repositories below a path, or, where it lies in one, of
    what stands at it. Waits for the disk; never raises."""
    over = repository_over(path)
    found: dict[bytes, Missing] = {}
    for directory in [over[0]] if over is not None else repositories(root_fd, path):
        for link in _links(root_fd, _join(directory, b"snapshots")):
            target, digest = _resolved(root_fd, link.target), link.target.rpartition(b"/")[2]
            is_meant = _is_below(link.path, path) or _is_below(link.target, path) or _is_below(target, path)
            if (
                is_meant
                and link.target.startswith(_join(directory, b"blobs") + b"/")
                and _DIGEST.fullmatch(digest)
                and _is_absent(root_fd, target)
            ):
                found.setdefault(target, Missing(target, digest.decode()))
    digest = path.rpartition(b"/")[2]
    if over is not None and path == _join(over[0], b"blobs", digest) and _DIGEST.fullmatch(digest):
        target = _resolved(root_fd, path)
        if _is_absent(root_fd, target):  # no link may be left, and a listing know it
            found.setdefault(target, Missing(target, digest.decode()))
    return list(found.values())


def repositories(root_fd: int, path: bytes) -> Iterator[bytes]:
    """The paths of the repositories below a path. Waits for the disk."""
    pending = [(path, 0)]
    while pending:
        above, depth = pending.pop()
        for name in _names(root_fd, above):
            below = _join(above, name) if above else name
            if _REPOSITORY.fullmatch(name):
                yield below
            elif depth < _DEPTH and _is_directory(root_fd, below):
                pending.append((below, depth + 1))


def _resolved(root_fd: int, path: bytes) -> bytes:
    """What a blob's link leads to, where it is one into the client's shared store; else the path itself."""
    above, _, name = path.rpartition(b"/")
    for link in _entries(root_fd, above, {name}):
        if reference.parse(link.target) is None:
            target = _target(link.path, link.target)
            if target is not None and _SHARED.fullmatch(target):
                return target
    return path


def _is_absent(root_fd: int, path: bytes) -> bool:
    try:
        os.close(syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _is_directory(root_fd: int, path: bytes) -> bool:
    try:
        os.close(syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY))
    except OSError:
        return False
    return True


def _is_below(path: bytes, above: bytes) -> bool:
    return not above or path == above or path.startswith(above + b"/")


def _join(*parts: bytes) -> bytes:
    return b"/".join(part for part in parts if part)


def _commits(root_fd: int, directory: bytes, below: bytes, suffix: bytes) -> list[bytes]:
    names = [name.removesuffix(suffix) for name in _names(root_fd, _join(directory, below)) if name.endswith(suffix)]
    return sorted(name for name in names if _COMMIT.fullmatch(name))


def _names(root_fd: int, path: bytes) -> list[bytes]:
    try:
        fd = syscalls.open_beneath(root_fd, path, _LIST)
    except OSError:
        return []
    try:
        with os.scandir(fd) as entries:
            return [os.fsencode(entry.name) for entry, _ in zip(entries, range(_ENTRIES_MOST), strict=False)]
    except OSError:
        return []
    finally:
        os.close(fd)


def _links(root_fd: int, above: bytes, depth: int = 64) -> Iterator[Link]:
    """The relative links below a directory, with the paths that they lead to; those that leave are left out."""
    pending, looked = [(above, 0)], 0
    while pending:
        path, level = pending.pop()
        names = _names(root_fd, path)
        looked += len(names)
        if looked > _ENTRIES_MOST:
            return
        for link in _entries(root_fd, path, set(names)):
            target = _target(link.path, link.target)
            if target is not None:
                yield Link(link.path, target, link.owner)
        if level < depth:
            pending += [(_join(path, name), level + 1) for name in names if _is_directory(root_fd, _join(path, name))]


def _entries(root_fd: int, path: bytes, names: set[bytes]) -> Iterator[Link]:
    """Those of some names in a directory that are links, with their texts."""
    try:
        fd = syscalls.open_beneath(root_fd, path, _LIST)
    except OSError:
        return
    try:
        for name in names:
            try:
                st = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISLNK(st.st_mode):
                    yield Link(_join(path, name), os.readlink(name, dir_fd=fd), st.st_uid)
            except OSError:
                continue
    finally:
        os.close(fd)


def _target(path: bytes, text: bytes) -> bytes | None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    return None if target.startswith((b"/", b"../")) else target


def _is_ours(root_fd: int, path: bytes) -> bool:
    """Whether what is at a path is of the user this process runs as."""
    try:
        fd = syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.fstat(fd).st_uid == os.geteuid()
    finally:
        os.close(fd)


def listing_at(root_fd: int, path: bytes) -> Listing | None:
    """The listing at a path from the plain root, `trees/<commit>.json` in a repository; None where it cannot be read.
    Waits for the disk."""
    over, commit = repository_over(path), path.rpartition(b"/")[2].removesuffix(b".json")
    found = _listing(root_fd, path, _LISTING_MOST)
    if over is None or found is None or not _COMMIT.fullmatch(commit):
        return None
    text, st = found
    nowhere = HubFile(over[1], over[2], commit.decode(), "", st.st_uid == os.geteuid())
    return Listing(nowhere, text, (st.st_ino, st.st_mtime_ns))


def listings_of(root_fd: int, repository: bytes) -> list[tuple[bytes, Listing]]:
    """The listings of a repository, by their paths; of many those that changed last. Waits for the disk."""
    commits = _commits(root_fd, repository, b"trees", b".json")
    paths = [_join(repository, b"trees", commit + b".json") for commit in commits]
    if len(paths) > FILES_MOST:
        paths = sorted(paths, key=lambda path: _changed_ns(root_fd, path), reverse=True)[:FILES_MOST]
    return [(path, listing) for path in paths if (listing := listing_at(root_fd, path)) is not None]


def any_file(root_fd: int, repository: bytes) -> tuple[HubFile, bytes] | None:
    """A file of a repository that a link in a snapshot names, and its digest; None where there is no such link. Waits
    for the disk."""
    over = repository_over(repository)
    for commit in _commits(root_fd, repository, b"snapshots", b"") if over is not None else ():
        prefix = _join(repository, b"snapshots", commit)
        for link in _links(root_fd, prefix):
            digest = link.target.rpartition(b"/")[2]
            if over is not None and _DIGEST.fullmatch(digest) and link.target == _join(repository, b"blobs", digest):
                path = os.fsdecode(link.path[len(prefix) + 1 :])
                return HubFile(over[1], over[2], commit.decode(), path), bytes.fromhex(digest.decode())
    return None


def lacking(root_fd: int, repository: bytes, named: list[tuple[str, str]]) -> list[bool]:
    """By sha256 and Xet hash, whether a blob is neither in its repository nor in the clients' shared store. Waits for
    the disk."""
    return [
        not is_there(root_fd, _join(repository, b"blobs", sha256.encode()))
        and not (xet and is_there(root_fd, shared_blob(repository, xet)))
        for sha256, xet in named
    ]


def is_there(root_fd: int, path: bytes) -> bool:
    """Whether something stands at a path from the plain root."""
    try:
        os.close(syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def _changed_ns(root_fd: int, path: bytes) -> int:
    """When a file changed last; 0 where that cannot be told."""
    try:
        fd = syscalls.open_beneath(root_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)


def _listing(root_fd: int, path: bytes, most: int) -> tuple[bytes, os.stat_result] | None:
    """A listing's text and attributes; None where it cannot be read, or is longer than `most` bytes."""
    try:
        fd = syscalls.open_beneath(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode) or st.st_size > most:
            return None
        with open(fd, "rb", closefd=False) as file:
            return file.read(most), st
    except OSError:
        return None
    finally:
        os.close(fd)
