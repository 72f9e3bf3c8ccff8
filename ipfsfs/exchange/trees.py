"""CIDs of files and whole trees. The leaves of a file come from its seal, or from hashing it: there are two `Leaves`.

A tree may be large. A daemon finds its CID on the event loop, where the index is asked: after each millisecond of work
it rests for another, in which requests are answered. However deep it is, one directory of it is open at a time.
"""

from __future__ import annotations

import os
import stat as stat_
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import trio

from ipfsfs.caches.place import Kind, Place, locate
from ipfsfs.errors import IpfsfsError, UsageError
from ipfsfs.exchange.secrets import holds_secret
from ipfsfs.plain import entries, links, quiet, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.quiet import QuietFile
from ipfsfs.store.seal import unpack_leaves
from ipfsfs.store.seals import Seals
from ipfsfs.store.unsealable import Reason
from ipfsfs.unixfs import cid, directory, file, reference
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.unixfs.reference import Reference
from ipfsfs.workers.sealer import hashing

_AT_ONCE: Final = 2
"""Trees whose CIDs are found at the same time; others wait."""
_WORK_S: Final = 0.001
REST_S: Final = 0.001
"""How long to rest after each `_WORK_S` of work where others wait for the event loop."""
_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEVER: Final = {Kind.SECRET: "a secret", Kind.SCRATCH: "scratch"}


class Leaves(Protocol):
    """Where the leaves of regular files come from. Paths are from the plain root; `st` is what is at the path."""

    def is_secret(self, path: bytes, st: os.stat_result) -> bool:
        """Whether the file is a secret by its content. Raises OSError."""

    async def of(self, path: bytes, st: os.stat_result) -> Iterable[tuple[int, bytes]] | None:
        """The length and the sha2-256 of each leaf, in order; None where they are not known. Raises OSError."""


class Blocks(Protocol):
    """Who is told of the blocks that a tree consists of, each once it is known. Paths are from the plain root."""

    def name(self, path: bytes) -> None:
        """A name that has a part in the tree: a file's, a link's, or, with a slash behind it, a directory's."""

    def node(self, cid: bytes, block: bytes) -> None:
        """A block that is no leaf."""

    def file(self, path: bytes, leaves: list[tuple[int, bytes]]) -> None:
        """The leaves of a file, whose bytes follow each other in it: the length and the sha2-256 of each."""

    def placeholder(self, path: bytes, stands_for: Reference) -> None:
        """A placeholder, the blocks of whose file are not told."""


@dataclass(slots=True, frozen=True)
class SealedLeaves:
    """Leaves of files that are sealed."""

    seals: Seals

    def is_secret(self, path: bytes, st: os.stat_result) -> bool:
        """See `Leaves`."""
        return self.seals.unsealable.reason(st) is Reason.SECRET

    async def of(self, path: bytes, st: os.stat_result) -> Iterable[tuple[int, bytes]] | None:
        """See `Leaves`."""
        seal = self.seals.agreeing(st)
        return None if seal is None else seal.iter_leaves()


@dataclass(slots=True)
class HashedLeaves:
    """Leaves of files that are read and hashed for the occasion, in the calling thread; where no daemon is asked.

    `report` is told how many files were read to the end, and how many bytes were read, so far.
    """

    plain: PlainDirectory
    chunker: Chunker
    report: Callable[[int, int], None]
    _files: int = 0
    _bytes: int = 0
    _buffer: memoryview = field(default_factory=hashing.new_buffer)

    def is_secret(self, path: bytes, st: os.stat_result) -> bool:
        """See `Leaves`."""
        return holds_secret(self.plain.fd, path, st)

    async def of(self, path: bytes, st: os.stat_result) -> Iterable[tuple[int, bytes]] | None:
        """See `Leaves`. Raises IpfsfsError for a file that becomes shorter meanwhile."""
        fd = quiet.open_regular(self.plain.fd, path)
        try:
            size = os.fstat(fd).st_size
            steps = hashing.hash_file(QuietFile(fd, size), size, self.chunker, self._buffer)
            while True:
                self._bytes += next(steps)
                self.report(self._files, self._bytes)
        except StopIteration as end:
            self._files += 1
            hashed: hashing.Hashed = end.value
            return unpack_leaves(hashed.leaves)
        except hashing.EndedEarly:
            raise IpfsfsError(f"{os.fsdecode(path)} was cut while it was read", hint="Try again.") from None
        finally:
            os.close(fd)


@dataclass(slots=True)
class Outcome:
    """What was found of the CID of a path. `root` is empty where there is none: for the files that are `unsealed` (by
    their paths from the plain root), whose leaves are not known, or because the path `never` has one, as a secret.
    `left_out`: how many names in the tree have no part in its CID."""

    root: bytes = b""
    unsealed: list[bytes] = field(default_factory=list)
    left_out: int = 0
    never: str = ""
    """Why not, in words that go on from "PATH is"."""

    def refuse_what_never_has_one(self, path: Path) -> None:
        """Raises UsageError where the path, which users know as `path`, never has a CID."""
        if self.never:
            raise UsageError(f"{path} is {self.never}: it never gets a CID")


@dataclass(slots=True)
class _Directory:
    """A directory that is being named: what in it has its CID, and the subdirectories that have none yet."""

    path: bytes
    place: Place
    named: list[directory.Entry] = field(default_factory=list)
    below: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Pace:
    """Work and rest by turns; a rest takes `rest_s`."""

    rest_s: float
    work_until: float = field(default_factory=lambda: time.perf_counter() + _WORK_S)

    async def keep(self) -> None:
        """Rest if it is time to; called at least every some hundred microseconds."""
        if time.perf_counter() >= self.work_until:
            await trio.sleep(self.rest_s)
            self.work_until = time.perf_counter() + _WORK_S


@dataclass(slots=True)
class Trees:
    """Finds the CIDs of files and trees below a plain root; secrets and scratch are left out."""

    plain: PlainDirectory
    root_place: Place
    leaves: Leaves
    rest_s: float = REST_S
    blocks: Blocks | None = None
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_AT_ONCE))

    async def cid(self, path: bytes) -> Outcome:
        """Find the CID of the file, symlink or directory at `path` (from the root).

        Raises OSError: ENAMETOOLONG where the path of a directory below is longer than a path may be.
        """
        async with self._limiter:
            pace = _Pace(self.rest_s)
            fd = syscalls.open_beneath(self.plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
            try:
                st = os.fstat(fd)
                found = Outcome()
                if stat_.S_ISDIR(st.st_mode):
                    found.root = await self._directory(path, found, pace)
                elif not (name := locate(path, self.root_place)[1]).is_sealed:
                    found.never = _NEVER[name.kind]
                elif stat_.S_ISLNK(st.st_mode):
                    at = locate(path, self.root_place)[0]
                    found.root = self._link(path, st, at, os.readlink(b"", dir_fd=fd)).cid
                elif not stat_.S_ISREG(st.st_mode):
                    found.never = "neither file, directory nor link"
                elif self.leaves.is_secret(path, st):
                    found.never = _NEVER[Kind.SECRET]
                else:
                    found.root = (await self._file(st, path, found, pace))[0]
            finally:
                os.close(fd)
            if found.unsealed:
                found.root = b""
            return found

    async def _directory(self, path: bytes, found: Outcome, pace: _Pace) -> bytes:
        """The CID of a directory. What is below it comes first, deepest to shallowest, without recursion."""
        unfinished = [await self._look(path, locate(path + b"/", self.root_place)[0], found, pace)]
        while True:
            at = unfinished[-1]
            if at.below:
                name = at.below.pop()
                path = at.path + b"/" + name if at.path else name
                unfinished.append(await self._look(path, at.place.enter(name), found, pace))
                continue
            dag = self._told(await _built(directory.building(at.named), pace))
            unfinished.pop()
            if not unfinished:
                return dag.cid
            unfinished[-1].named.append(directory.Entry(at.path.rpartition(b"/")[2], dag.cid, dag.tsize))

    async def _look(self, path: bytes, place: Place, found: Outcome, pace: _Pace) -> _Directory:
        """Find the CIDs of the files and links of a directory, and note its subdirectories."""
        at = _Directory(path, place)
        fd = syscalls.open_beneath(self.plain.fd, path, _OPEN)
        try:
            for name in entries.each(fd):
                await pace.keep()
                st = entries.stat(fd, name)
                below = path + b"/" + name if path else name
                if stat_.S_ISDIR(st.st_mode):
                    at.below.append(name)
                    self._name(below + b"/")
                elif not place.classify(name).is_sealed or not _has_content(st) or self.leaves.is_secret(below, st):
                    found.left_out += 1
                elif stat_.S_ISLNK(st.st_mode):
                    self._name(below)
                    at.named.append(await self._linked(below, st, place, entries.readlink(fd, name), found, pace))
                else:
                    self._name(below)
                    at.named.append(directory.Entry(name, *await self._file(st, below, found, pace)))
        finally:
            os.close(fd)
        return at

    async def _file(self, st: os.stat_result, path: bytes, found: Outcome, pace: _Pace) -> tuple[bytes, int]:
        leaves = await self.leaves.of(path, st)
        if leaves is None:
            found.unsealed.append(path)
            return b"", 0
        if self.blocks is not None:
            leaves = list(leaves)
            self.blocks.file(path, leaves)
            if not leaves:
                self.blocks.node(cid.EMPTY, b"")
        dag = await _built(file.building((cid.raw_cid(digest), length) for length, digest in leaves), pace)
        self._told(dag)
        return dag.cid, dag.tsize

    async def _linked(
        self, path: bytes, st: os.stat_result, place: Place, text: bytes, found: Outcome, pace: _Pace
    ) -> directory.Entry:
        """The entry of a symlink in a directory. One into the clients' shared store counts as the file that it stands
        for: the link alone would lead nowhere on another machine."""
        name = path.rpartition(b"/")[2]
        shared = place.shared_content(name, text)
        content = _beside_repository(path, shared) if shared is not None else None
        if content is None:
            return self._link(path, st, place, text)
        try:
            held = syscalls.open_beneath(self.plain.fd, content, os.O_PATH | os.O_NOFOLLOW)
        except OSError:  # it leads nowhere here either
            return self._link(path, st, place, text)
        try:
            there = os.fstat(held)
            if stat_.S_ISREG(there.st_mode) and not self.leaves.is_secret(content, there):
                return directory.Entry(name, *await self._file(there, content, found, pace))
            if stat_.S_ISLNK(there.st_mode):
                at = locate(content, self.root_place)[0]
                stands_for = _stands_for(content, there, at, os.readlink(b"", dir_fd=held))
                if stands_for is not None:
                    return self._placeholder(name, content, stands_for)
        finally:
            os.close(held)
        return self._link(path, st, place, text)

    def _link(self, path: bytes, st: os.stat_result, place: Place, text: bytes) -> directory.Entry:
        """The entry of a symlink: what it stands for where it is a placeholder, else the link itself."""
        name = path.rpartition(b"/")[2]
        stands_for = _stands_for(path, st, place, text)
        if stands_for is not None:
            return self._placeholder(name, path, stands_for)
        root, block = file.symlink(text)
        if self.blocks is not None:
            self.blocks.node(root, block)
        return directory.Entry(name, root, len(block))

    def _placeholder(self, name: bytes, path: bytes, stands_for: Reference) -> directory.Entry:
        if self.blocks is not None:
            self.blocks.placeholder(path, stands_for)
        return directory.Entry(name, stands_for.root, stands_for.link_tsize())

    def _name(self, path: bytes) -> None:
        if self.blocks is not None:
            self.blocks.name(path)

    def _told(self, dag: file.Dag) -> file.Dag:
        if self.blocks is not None:
            for node_cid, block in dag.nodes:
                self.blocks.node(node_cid, block)
        return dag


async def _built(steps: Generator[None, None, file.Dag], pace: _Pace) -> file.Dag:
    while True:
        await pace.keep()
        try:
            next(steps)
        except StopIteration as end:
            dag: file.Dag = end.value
            return dag


def _has_content(st: os.stat_result) -> bool:
    return stat_.S_ISREG(st.st_mode) or stat_.S_ISLNK(st.st_mode)


def _stands_for(path: bytes, st: os.stat_result, place: Place, text: bytes) -> Reference | None:
    """What a symlink stands for where it is a placeholder."""
    may_be_one = links.may_be_placeholder(st) and place.may_be_elsewhere(path.rpartition(b"/")[2])
    return reference.parse(text) if may_be_one else None


def _beside_repository(blob: bytes, shared: bytes) -> bytes | None:
    """The path of content in the shared store beside the repository of a blob; None where that is not below the root
    that paths are from."""
    above = blob.split(b"/")[:-3]
    return b"/".join([*above, shared]) if blob.count(b"/") >= 2 else None
