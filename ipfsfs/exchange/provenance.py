"""Where the leaves of files came from since the view was mounted, and why not from elsewhere: for `why`.

In memory only: it says how content came, and nothing that follows from content.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.errors import Said

IN_STORE: Final = "the store (fetched before)"
"""Stands for an origin: the leaf was in the extent already."""
_FILES_MOST: Final = 10_000
_LEAVES_MOST: Final = 1_000_000
"""Leaves of all files together: what was fetched least recently is forgotten first."""
_ORIGINS_MOST: Final = 250


@dataclass(slots=True, frozen=True)
class Refusal:
    """An origin that was asked and did not give what was asked for: how often, and what it said the last time."""

    origin: str
    times: int
    said: str


@dataclass(slots=True, frozen=True)
class Served:
    """What came of a file from an origin: how many leaves, how many bytes."""

    origin: str
    leaves: int
    bytes: int


@dataclass(slots=True)
class Provenance:
    """Of one file. `failure`: why what was asked for last did not come; empty where it came."""

    failure: str = ""
    _origins: list[str] = field(default_factory=list)
    _by_leaf: array[int] = field(default_factory=lambda: array("B"))
    """For each leaf the place of its origin in `_origins`, counted from 1; 0 where it has not come."""
    _lengths: array[int] = field(default_factory=lambda: array("I"))
    _refusals: dict[str, Refusal] = field(default_factory=dict)

    @property
    def leaves(self) -> int:
        """How many leaves the file has; 0 where that is not known."""
        return len(self._by_leaf)

    def expect(self, leaves: int) -> None:
        """The file has so many leaves."""
        if len(self._by_leaf) != leaves:
            self._by_leaf = array("B", bytes(leaves))
            self._lengths = array("I", bytes(4 * leaves))

    def came(self, index: int, length: int, origin: str, refused: Sequence[Said]) -> None:
        """A leaf of so many bytes came from an origin (empty: it was in the store), after others had refused."""
        name = origin or IN_STORE
        if name not in self._origins:
            if len(self._origins) == _ORIGINS_MOST:
                return
            self._origins.append(name)
        if origin or not self._by_leaf[index]:  # what is in the store by now may have come from an origin before
            self._by_leaf[index] = self._origins.index(name) + 1
        self._lengths[index] = length
        self.failure = ""
        self._refused(refused)

    def failed(self, why: str, refused: Sequence[Said]) -> None:
        """Something that was asked for did not come."""
        self.failure = why
        self._refused(refused)

    def _refused(self, refused: Sequence[Said]) -> None:
        for origin, said in refused:
            before = self._refusals.get(origin)
            self._refusals[origin] = Refusal(origin, before.times + 1 if before is not None else 1, said)

    def by_leaf(self) -> list[str]:
        """The name of its origin for each leaf, empty where it has not come; nothing where no leaf was asked for."""
        return [self._origins[place - 1] if place else "" for place in self._by_leaf]

    def served(self) -> list[Served]:
        """Who served how much, those with most bytes first."""
        found: dict[str, Served] = {}
        for origin, length in zip(self.by_leaf(), self._lengths, strict=True):
            if origin:
                before = found.get(origin, Served(origin, 0, 0))
                found[origin] = Served(origin, before.leaves + 1, before.bytes + length)
        return sorted(found.values(), key=lambda one: -one.bytes)

    @property
    def refusals(self) -> list[Refusal]:
        """Of the origins that refused."""
        return list(self._refusals.values())


@dataclass(slots=True)
class Provenances:
    """Of all content that was asked for of late, by root and size."""

    _known: OrderedDict[tuple[bytes, int], Provenance] = field(default_factory=OrderedDict)
    _files: OrderedDict[tuple[int, int, int], Provenance] = field(default_factory=OrderedDict)
    """Of files that became resident, by inode, size and time of change (ns): one that the view cuts into other leaves
    has another root from then on."""
    _leaves: int = 0

    def find(self, root: bytes, size: int) -> Provenance | None:
        """That of content; None where nothing was fetched for it."""
        return self._known.get((root, size))

    def find_file(self, st: os.stat_result) -> Provenance | None:
        """That of a file which became resident, and was not changed since; None where that is not known."""
        return self._files.get(_file(st))

    def became_resident(self, root: bytes, size: int, st: os.stat_result) -> None:
        """Content is a file of the plain directory by now."""
        found = self._known.get((root, size))
        if found is not None:
            self._files[_file(st)] = found
            if len(self._files) > _FILES_MOST:
                self._files.popitem(last=False)

    def gave_way(self, root: bytes, size: int) -> None:
        """A file with this content became a link: what it came from is here no longer."""
        found = self._known.pop((root, size), None)
        if found is not None:
            self._leaves -= found.leaves

    def begin(self, root: bytes, size: int, leaves: int = 0) -> Provenance:
        """That of content that is about to be fetched. `leaves`: how many it has, 0 where that is not known yet."""
        key = root, size
        provenance = self._known.setdefault(key, Provenance())
        self._known.move_to_end(key)
        if leaves:
            self._leaves += leaves - provenance.leaves
            provenance.expect(leaves)
        while len(self._known) > (1 if self._leaves > _LEAVES_MOST else _FILES_MOST):
            _, forgotten = self._known.popitem(last=False)
            self._leaves -= forgotten.leaves
        return provenance


def _file(st: os.stat_result) -> tuple[int, int, int]:
    return st.st_ino, st.st_size, st.st_mtime_ns
