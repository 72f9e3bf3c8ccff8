"""The same content kept once: by sharing blocks on disk where the filesystem can, else by one inode for promised blobs.

Blocks are shared by the kernel, which compares them: files stay what they are, for whoever made them. Names of one
inode are more than that: who writes to one in place writes to all. So only blobs are linked whose names promise the
sha256 that they have, and only where a user asks for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import trio

from ipfsfs.caches.beside import LINKING
from ipfsfs.caches.place import Place, locate
from ipfsfs.plain import sharing
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.linking import Refused
from ipfsfs.plain.tree import Found
from ipfsfs.store.index import Index
from ipfsfs.store.seal import LEAF_SIZE, Seal, unpack_leaves
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Shared

_LEFT_OVER: Final = re.compile(LINKING, re.DOTALL)
_TOLD_MOST: Final = 100
"""Files that are told of which stay as they are."""


@dataclass(slots=True, frozen=True)
class Progress:
    """How many files and bytes were compared so far, and the path (from the plain root) of the one that is next."""

    files: int
    bytes: int
    path: str


@dataclass(slots=True, frozen=True)
class LeftAlone:
    """A file that has the content of another and stays as it is: its path from the plain root, and why."""

    path: str
    why: str


@dataclass(slots=True)
class Deduplicated:
    """What was found, and done. `copies`: files that hold what another holds, and their `copied_bytes`. `shared` files
    share their blocks by now, `linked` names are names of another's inode; `saved`: the bytes that this gives back, or
    would. `below`: bytes of leaves that files of different content have in common, which nothing here saves."""

    files: int = 0
    bytes: int = 0
    copies: int = 0
    copied_bytes: int = 0
    shared: int = 0
    linked: int = 0
    saved: int = 0
    below: int = 0
    left: list[LeftAlone] = field(default_factory=list)

    def leave(self, found: Found, why: str) -> None:
        """A file stays as it is."""
        if len(self.left) < _TOLD_MOST:
            self.left.append(LeftAlone(os.fsdecode(found.path), why))


class Linker(Protocol):
    """Puts one file in the place of another."""

    async def link(self, kept: Found, other: Found) -> None:
        """Have the name of `other` stand for the file `kept`. Raises Refused, OSError."""

    async def remove_left_over(self, found: Found) -> None:
        """Remove what is left of a link that was not finished. Raises OSError."""


@dataclass(slots=True)
class _Leaves:
    """Which leaves there are, in files of different content. `known`: the first bytes of their sha2-256."""

    repeated: int = 0
    known: set[int] = field(default_factory=set)
    roots: set[bytes] = field(default_factory=set)

    def add(self, seal: Seal) -> None:
        """A file. One of a single leaf has nothing in common with another but its whole content."""
        if len(seal.leaves) <= LEAF_SIZE or seal.root in self.roots:
            return
        self.roots.add(seal.root)
        for length, digest in unpack_leaves(seal.leaves):
            mark = int.from_bytes(digest[:8], "little")
            if mark in self.known:
                self.repeated += length
            self.known.add(mark)


@dataclass(slots=True)
class Dedup:
    """Finds the copies below a directory, and has them kept once; "tell" only says what that would do."""

    sealer: Sealer
    index: Index
    plain: PlainDirectory
    root_place: Place
    linker: Linker
    do: Literal["share", "tell"]
    report: Callable[[Progress], None]
    result: Deduplicated = field(default_factory=Deduplicated)
    _groups: dict[bytes, dict[int, Found]] = field(default_factory=dict)
    """By root, the files that have it, by inode."""
    _done: int = 0
    _done_bytes: int = 0

    async def run(self, path: bytes) -> Deduplicated:
        """Deduplicate what is sealed below a path from the plain root. Raises StoreError and SealerLost."""
        await self._find(path)
        for group in self._groups.values():
            kept, *others = sorted(group.values(), key=self._rank)
            for other in others:
                self.result.copies += 1
                self.result.copied_bytes += other.size
                self.report(Progress(self._done, self._done_bytes, os.fsdecode(other.path)))
                await self._keep_once(kept, other)
                self._done += 1
                self._done_bytes += other.size
        return self.result

    async def _find(self, path: bytes) -> None:
        repeated = await trio.to_thread.run_sync(self.index.repeated_roots)
        leaves = _Leaves()
        async with self.sealer.walk(path, urgency=Urgency.NOW) as batches:
            async for batch in batches:
                for found in batch:
                    if _LEFT_OVER.fullmatch(found.path.rpartition(b"/")[2]):
                        await self._remove_left_over(found)
                    seal = self._seal(found)
                    if seal is not None:
                        self.result.files += 1
                        self.result.bytes += found.size
                        leaves.add(seal)
                        if found.size and seal.root in repeated:
                            self._groups.setdefault(seal.root, {}).setdefault(found.ino, found)
        self.result.below = leaves.repeated

    def _seal(self, found: Found) -> Seal | None:
        """The seal of a file that is as it was sealed."""
        if not locate(found.path, self.root_place)[1].is_sealed:
            return None
        seal = self.index.get(found.ino)
        return seal if seal is not None and seal.identity == found.identity else None

    def _keeps_promise(self, found: Found) -> bool:
        """Whether a file's name promises the sha256 that it has."""
        promise, seal = locate(found.path, self.root_place)[1].promise, self._seal(found)
        return promise is not None and seal is not None and seal.sha256 == promise

    def _rank(self, found: Found) -> tuple[bool, int, bytes]:
        """Which of a group is kept: a promised blob, and of those the oldest."""
        return not self._keeps_promise(found), found.identity.mtime_ns, found.path

    async def _keep_once(self, kept: Found, other: Found) -> None:
        if sharing.may_share(self.plain.fd):
            outcome = await self.sealer.share(kept, other, self.do, urgency=Urgency.NOW)
            if not (isinstance(outcome, Failed) and outcome.errno in sharing.CANNOT):
                self._shared(other, outcome)
                return
        if not (self._keeps_promise(kept) and self._keeps_promise(other)):
            self.result.leave(other, "files share no blocks here, and its name promises no content")
            return
        if self.do == "share":
            try:
                await self.linker.link(kept, other)
            except Refused as refused:
                self.result.leave(other, str(refused))
                return
            except OSError as error:
                self.result.leave(other, error.strerror or str(error))
                return
        self.result.linked += 1
        self.result.saved += other.size

    def _shared(self, other: Found, outcome: Shared | Busy | Changed | Gone | Failed) -> None:
        match outcome:
            case Shared(bytes=count):
                self.result.shared += 1
                self.result.saved += count
            case Busy(reason=reason):
                self.result.leave(other, reason)
            case Failed(message=message):
                self.result.leave(other, message)
            case Changed() | Gone():
                self.result.leave(other, "it was changed or removed")

    async def _remove_left_over(self, found: Found) -> None:
        if self.do == "share":
            try:
                await self.linker.remove_left_over(found)
            except OSError as error:
                self.result.leave(found, error.strerror or str(error))
