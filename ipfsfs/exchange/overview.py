"""What is in a cache, as people think of it: models, datasets and spaces, how much of each is here, and what it shares.

What lies in a repository counts for it: blobs, and small files such as `refs/`. A blob that lies in the client's shared
store counts for each repository that has a link to it, and a file with several hard links for each that has one. All
that is in no repository is one entry; so are downloads that are not finished, wherever they are. Secrets are left out.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from ipfsfs.caches.place import Kind
from ipfsfs.caches.registry import repository_over, root_place
from ipfsfs.exchange import whereabouts
from ipfsfs.plain import links, survey
from ipfsfs.plain.survey import Closed, Directory, Seen
from ipfsfs.store.extents import Extents, extent_name
from ipfsfs.store.index import Index
from ipfsfs.store.kept import bytes_in_store
from ipfsfs.store.ledger import Ledger
from ipfsfs.unixfs import reference

EntryKind = Literal["model", "dataset", "space", "kernel", "other", "unfinished"]
Pinned = Literal["no", "part", "yes"]

_KINDS: Final[dict[str, EntryKind]] = {
    "models": "model",
    "datasets": "dataset",
    "spaces": "space",
    "kernels": "kernel",
}
_IN_WORDS: Final[dict[EntryKind, str]] = {"other": "(other files)", "unfinished": "(unfinished downloads, locks, logs)"}

_Key = tuple[Literal["content", "file"], int | bytes]


@dataclass(slots=True, frozen=True)
class Entry:
    """A repository with all its revisions, or all of another kind. Sizes in bytes.

    `path`: from the root. `here`: how much of `size` is on this machine; `shared`: how much of `here` another entry
    holds as well. `last_used`: in whole seconds since the epoch; None where nothing of it is here. `missing_files`: how
    many more its snapshots link to that are not there, of sizes that nothing tells.
    """

    kind: EntryKind
    name: str
    path: bytes
    files: int
    size: int
    here: int
    shared: int
    pinned: Pinned
    last_used: int | None
    missing_files: int = 0


@dataclass(slots=True, frozen=True)
class Overview:
    """A cache. `entries`: those with most bytes here first. `size`, `here`: of all, what is shared counted once.
    `unread`: how many directories could not be listed."""

    entries: tuple[Entry, ...]
    size: int
    here: int
    unread: int

    @property
    def missing_files(self) -> int:
        """How many files links lead to that are not there."""
        return sum(entry.missing_files for entry in self.entries)


@dataclass(slots=True, frozen=True)
class Known:
    """What is known of files besides what the directory says. `extents`: bytes in the store of files that are not
    wholly here, by the names of their extents. `pinned_roots`, `pinned_inodes`: what pins hold. `used_ns`: when files
    were used, by inode, in ns since the epoch, where that is known better than the filesystem knows it.
    """

    extents: Mapping[str, int] = field(default_factory=dict)
    pinned_roots: AbstractSet[bytes] = frozenset()
    pinned_inodes: AbstractSet[int] = frozenset()
    used_ns: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, extents: Extents, index: Index | None, ledger: Ledger) -> Known:
        """What a store knows. It may wait for the disk. Raises StoreError, OSError."""
        roots = {file.root for file in ledger.pins.all_files()}
        inodes = {ino for root in roots for ino in index.files_with_root(root)} if index is not None else set()
        used_ns = dict(index.uses()) if index is not None else {}
        return cls(bytes_in_store(extents), roots, inodes, used_ns)


class _Part(NamedTuple):
    """A file, as it counts for an entry. `content`: what tells that others hold the same, by a name or CID; `file`:
    what tells that it is the same file, by its inode, or its path in the shared store. None where nothing tells."""

    size: int
    here: int
    used_ns: int
    is_pinned: bool
    content: bytes | None
    file: int | bytes | None


@dataclass(slots=True, eq=False)
class _Tally:
    kind: EntryKind
    name: str
    path: bytes
    parts: list[_Part] = field(default_factory=list)
    files: set[int | bytes] = field(default_factory=set)
    missing: int = 0

    def add(self, part: _Part) -> None:
        """Count a file, once under however many names it has."""
        if part.file is not None:
            if part.file in self.files:
                return
            self.files.add(part.file)
        self.parts.append(part)


_SEVERAL: Final = _Tally("other", "", b"")
"""Stands for several entries that hold the same content."""


def overview(root_fd: int, root: bytes, known: Known) -> Overview:
    """What is in the directory `root`, an absolute path that `root_fd` is open on. It may wait for the disk."""
    return _Counting(root, known).count(root_fd)


def has_placeholders(root_fd: int, root: bytes) -> bool:
    """Whether a link in the directory `root` stands for a file that is not wholly here. It may wait for the disk, and
    takes a small part of the time of `overview`."""
    return any(
        links.may_be_placeholder(st) and reference.parse(text) is not None
        for st, text in survey.links(root_fd, root_place(root))
    )


@dataclass(slots=True)
class _Counting:
    root: bytes
    known: Known
    tallies: dict[bytes | EntryKind, _Tally] = field(default_factory=dict)
    shared_store: dict[bytes, _Part] = field(default_factory=dict)
    """Files of the client's shared store, by their paths."""
    into_store: list[tuple[_Tally, bytes, bytes]] = field(default_factory=list)
    """Links that may lead to those: which entry has them, the name they stand at, and the path they lead to."""

    def count(self, root_fd: int) -> Overview:
        unread = 0
        for batch in survey.survey(root_fd, root_place(self.root)):
            for item in batch:
                if isinstance(item, Closed):
                    unread += 1
                else:
                    self._take(item)
        self._follow()
        for repository in whereabouts.repositories(root_fd, b""):
            if missing := whereabouts.missing(root_fd, repository):
                self._of_repository(repository).missing = len(missing)
        return self._summed(unread)

    def _take(self, seen: Seen) -> None:
        directory, name, st, text = seen
        kind = directory.place.classify(name).kind
        if kind is Kind.SECRET:
            return
        tally = self._kind("unfinished") if kind is Kind.SCRATCH else self._tally(directory)
        content = name if directory.place.receives_downloads and _names_content(directory, name) else None
        part = self._part(st, text, content)
        if part is None:
            assert text is not None
            if content is not None:
                self.into_store.append((tally, name, posixpath.normpath(posixpath.join(directory.path, text))))
        elif directory.place.holds_shared_content:
            self.shared_store[directory.path + b"/" + name] = part
        else:
            tally.add(part)

    def _part(self, st: os.stat_result, text: bytes | None, content: bytes | None) -> _Part | None:
        """None for a link that stands for no file."""
        if text is None:
            return _Part(
                st.st_size,
                st.st_size,
                max(survey.last_used_ns(st), self.known.used_ns.get(st.st_ino, 0)),
                st.st_ino in self.known.pinned_inodes,
                content,
                st.st_ino if st.st_nlink > 1 else None,
            )
        stands_for = reference.parse(text) if links.may_be_placeholder(st) else None
        if stands_for is None:
            return None
        here = min(stands_for.size, self.known.extents.get(extent_name(stands_for.root, stands_for.size), 0))
        return _Part(
            stands_for.size,
            here,
            survey.last_used_ns(st) if here else 0,
            stands_for.root in self.known.pinned_roots,
            content or stands_for.root,
            None,
        )

    def _follow(self) -> None:
        """Count what lies in the shared store for those who have links to it, and for nobody what nobody links to."""
        followed = set()
        for tally, name, target in self.into_store:
            part = self.shared_store.get(target)
            if part is not None:
                followed.add(target)
                tally.add(part._replace(content=name, file=target))
        for path, part in self.shared_store.items():
            if path not in followed:
                self._kind("other").add(part)

    def _tally(self, directory: Directory) -> _Tally:
        return self._kind("other") if directory.repository is None else self._of_repository(directory.repository)

    def _of_repository(self, path: bytes) -> _Tally:
        tally = self.tallies.get(path)
        if tally is None:
            found = repository_over(posixpath.join(self.root, path).rstrip(b"/"))
            assert found is not None
            _, kind, name = found
            tally = self.tallies[path] = _Tally(_KINDS[kind], name, path)
        return tally

    def _kind(self, kind: EntryKind) -> _Tally:
        return self.tallies.setdefault(kind, _Tally(kind, _IN_WORDS[kind], b""))

    def _summed(self, unread: int) -> Overview:
        holders: dict[_Key, _Tally] = {}
        once: dict[int | bytes, _Part] = {}
        size = here = 0
        for tally in self.tallies.values():
            for part in tally.parts:
                for key in _keys(part):
                    if holders.setdefault(key, tally) is not tally:
                        holders[key] = _SEVERAL
                if part.file is None:
                    size, here = size + part.size, here + part.here
                else:
                    once[part.file] = part
        entries = [_entry(tally, holders) for tally in self.tallies.values() if tally.parts or tally.missing]
        entries = [entry for entry in entries if entry.kind != "unfinished" or entry.size]
        entries.sort(key=lambda entry: (entry.kind in _IN_WORDS, -entry.here, -entry.size, entry.name))
        return Overview(
            tuple(entries),
            size + sum(part.size for part in once.values()),
            here + sum(part.here for part in once.values()),
            unread,
        )


def _keys(part: _Part) -> Iterator[_Key]:
    """What tells that another entry holds the same content."""
    if part.content is not None:
        yield "content", part.content
    if part.file is not None:
        yield "file", part.file


def _names_content(directory: Directory, name: bytes) -> bool:
    """Whether a name in a repository is that of its content, so that other files of that name hold the same."""
    return directory.place.is_immutable(name, is_link=False)


def _entry(tally: _Tally, holders: Mapping[_Key, _Tally]) -> Entry:
    parts = tally.parts
    pinned = sum(part.is_pinned for part in parts)
    used_ns = max((part.used_ns for part in parts), default=0)
    return Entry(
        kind=tally.kind,
        name=tally.name,
        path=tally.path,
        files=len(parts),
        size=sum(part.size for part in parts),
        here=sum(part.here for part in parts),
        shared=sum(part.here for part in parts if any(holders[key] is _SEVERAL for key in _keys(part))),
        pinned="no" if not pinned else "yes" if pinned == len(parts) else "part",
        last_used=used_ns // 1_000_000_000 or None,
        missing_files=tally.missing,
    )
