"""What a directory in a cache is, and what a name in it is: the terms that every kind of cache is described in.

Directories are states, names are transitions: `enter` goes one directory down, `classify` says what a file in it is.
A view keeps a `Place` with every directory it knows, and never looks at a whole path.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol


class Kind(Enum):
    """What a file is. Only `PROMISE` and `CONTENT` are ever sealed."""

    SECRET = "secret"  # noqa: S105  never hashed, never offered, never in a log
    SCRATCH = "scratch"  # in flight or worthless: locks, downloads, logs
    PROMISE = "promise"  # its name says what its sha256 must be
    CONTENT = "content"


class Name(NamedTuple):
    """What a name that is no directory is. `promise`: the sha256 (32 bytes) that its content must have, if it says."""

    kind: Kind
    promise: bytes | None = None

    @property
    def is_sealed(self) -> bool:
        """Whether what stands at it is to have a seal."""
        return self.kind is Kind.CONTENT or self.kind is Kind.PROMISE


class Guarded(NamedTuple):
    """What a lock file keeps other processes from downloading too: a blob of a promised name. `path`: where that is,
    from the directory that holds the parent of the lock file's directory."""

    sha256: bytes
    path: bytes


class Place(Protocol):
    """What a directory in a cache is."""

    @property
    def receives_downloads(self) -> bool:
        """Whether files are downloaded into it that are to get a promised name."""

    @property
    def holds_shared_content(self) -> bool:
        """Whether the content of promised names may lie in it, behind links at those names."""

    @property
    def is_repository(self) -> bool:
        """Whether it is what people know by a name: a model, dataset or space, with all its revisions."""

    def lists(self, name: bytes) -> bool:
        """Whether a file at `name` lists what is in a revision, by path, size and sha256."""

    def unfinished(self, name: bytes) -> bytes | None:
        """The sha256 (32 bytes) of what a file at `name` is to become, where that is a download which is not finished;
        None for every other name."""

    def enter(self, name: bytes) -> Place:
        """What the directory `name` in it is."""

    def classify(self, name: bytes) -> Name:
        """What `name` in it is, which is no directory."""

    def may_be_elsewhere(self, name: bytes) -> bool:
        """Whether a link at `name` may be a placeholder: stand for a file that is known by its CID and not here."""

    def shared_content(self, name: bytes, target: bytes) -> bytes | None:
        """For a link at `name` that leads to `target`: where in the same cache its content lies, if that is a store
        which the clients share among what people know by name. The path from the directory that holds this one's
        parent; None for every other link."""

    def admits(self, name: bytes) -> bool:
        """Whether the tree of an upstream may fill in what is missing in the directory `name` in it (H37)."""

    def fills_in(self, name: bytes, *, is_link: bool) -> bool:
        """The same, of the file or link `name`. Where a link leads to is another question, and so is what is checked of
        a file."""

    def guarded(self, directory: bytes, name: bytes) -> Guarded | None:
        """Which promised blob the lock file `name` is for, in a directory of this kind and of that name; None for a
        file that is no such lock."""

    def is_immutable(self, name: bytes, *, is_link: bool) -> bool:
        """Whether the file or link at `name` stays the same for as long as it is there, so that the kernel may keep it
        for long."""


def locate(path: bytes, start: Place) -> tuple[Place, Name]:
    """The place of the directory that holds `path`, a relative path from `start`, and what its last name is."""
    *directories, name = path.split(b"/")
    place = start
    for directory in directories:
        if directory:
            place = place.enter(directory)
    return place, place.classify(name)
