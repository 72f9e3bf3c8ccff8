"""What the fetching process does: tables of leaves, leaves into extents, and extents onto the disk.

Whatever an origin gives is compared with its CID before it is used, and written only where its table says. So is what
is copied from a file of this machine, in the extent: the bytes that were compared are those that are there.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, NamedTuple

import trio
import xxhash

from ipfsfs.errors import FormatError, OriginError, Said
from ipfsfs.origins import dag
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_files import HubBlocks, HubFile, HubFiles
from ipfsfs.origins.ordered import Given, Ordered
from ipfsfs.plain import moving, quiet
from ipfsfs.plain.holes import Holes
from ipfsfs.unixfs import cid, reading
from ipfsfs.workers import wire
from ipfsfs.workers.fetcher import holding, pinned, table
from ipfsfs.workers.fetcher.hub_jobs import Listed, Whole, hub_files
from ipfsfs.workers.fetcher.job import Answer, Job, SendPart
from ipfsfs.workers.fetcher.stored import StoredFirst
from ipfsfs.workers.fetcher.table import COPIED, Leaf, Source
from ipfsfs.workers.wire import Header

_WIDTH: Final = 16
"""Blocks of one job that are asked for at the same time."""
_MOVING: Final = 4
"""Threads that read and write extents at the same time."""
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Jobs:
    """Makes jobs; all share the origins, and what is asked for at once. `hub`: None where no Hub is to be asked."""

    extents: int
    plain: int
    origin: StoredFirst
    hub: HubFiles | None = None
    moving: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_MOVING))
    _asking: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4 * _WIDTH))

    def job(self, what: str, header: Header, blob: bytes) -> Job:
        """The job that a request names. Raises FormatError where there is none of that name."""
        match what:
            case "table":
                return _Table(self, bytes.fromhex(header["root"]), header["size"])
            case "leaves":
                leaves, sources = table.unpack(blob), _sources(header)
                return _Leaves(self, header["extent"], leaves, self._with_hub(hub_files(header), leaves), sources)
            case "finish":
                return _Finish(self, header["extent"], *table.unpack_with(blob))
            case "held":
                return _Held(self, bytes.fromhex(header["root"]), header["size"])
            case "given":
                return _GivenByHub(self, hub_files(header), table.unpack(blob)[:1])
            case "whole":
                name, size = header["name"], header["size"]
                return Whole(self.extents, header["extent"], self.hub, hub_files(header), name, size)
            case "listed":
                return Listed(header["name"], blob)
            case "pinned":
                return _Pinned(self, bytes.fromhex(header["root"]))
        raise FormatError(f"no such job: {what}")

    def _with_hub(self, files: list[HubFile], leaves: list[Leaf]) -> StoredFirst:
        """All origins, and behind them what the Hub is known to have these leaves in."""
        known = self.origin.origin
        origins = [*known.origins, *self.only_hub(files, leaves).origins]
        return StoredFirst(self.origin.blocks, Ordered(origins, known.quick))

    def only_hub(self, files: list[HubFile], leaves: list[Leaf]) -> Ordered:
        """The files on the Hub that have these leaves."""
        if self.hub is None:
            return Ordered([])
        where = {leaf.cid: (leaf.offset, leaf.length) for leaf in leaves}
        return Ordered([Checked(HubBlocks(self.hub, file, where)) for file in files])

    async def block(self, origin: StoredFirst | Ordered, block_cid: bytes) -> Given:
        """A block, compared with its CID, and the origin that gave it. Raises OriginError."""
        async with self._asking:
            return await origin.given(block_cid)


@dataclass(slots=True)
class _Table:
    """The table of a file's leaves."""

    jobs: Jobs
    root: bytes
    size: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        walk = await dag.file(self.jobs.origin, self.root, self.size)
        return Answer({}, b"".join(table.pack(leaf.offset, leaf.length, leaf.cid) for leaf in walk.leaves()))


@dataclass(slots=True)
class _Held:
    """Whether origins have a file, whatever the store holds of it; fails where they do not."""

    jobs: Jobs
    root: bytes
    size: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        await holding.must_hold(self.jobs.origin.origin, self.root, self.size)
        return Answer()


@dataclass(slots=True)
class _Pinned:
    """The files below a root that is to be pinned, and its nodes into the store. How many files are known is told."""

    jobs: Jobs
    root: bytes

    async def __call__(self, send_part: SendPart, /) -> Answer:
        files = await pinned.gather(self.jobs.origin, self.jobs.extents, self.root, send_part)
        return Answer({}, pinned.pack(files))


class _Placed(NamedTuple):
    """A leaf that is in its extent: the XXH3-64 of its bytes, the origin that gave it (empty: the extent had it), and
    what others said that were asked before."""

    checksum: int
    by: str
    refused: tuple[Said, ...] = ()


@dataclass(slots=True)
class _Leaves:
    """Leaves into an extent, from files of this machine, else from origins. Of each that is there its offset is told,
    the XXH3-64 of its bytes, the name of the origin that gave it (empty where the extent held it already), and what
    others said that were asked before.

    One that cannot be had does not hold up the others; the job then fails in the end, with the first reason.
    """

    jobs: Jobs
    extent: str
    leaves: list[Leaf]
    origin: StoredFirst
    sources: list[Source | None]

    async def __call__(self, send_part: SendPart, /) -> Answer:
        fd = os.open(self.extent, _OPEN, dir_fd=self.jobs.extents)
        holes = Holes.of(fd, os.fstat(fd).st_size)
        failures: list[OriginError] = []
        waiting = deque(zip(self.leaves, self.sources, strict=True))

        async def work() -> None:
            while waiting:
                leaf, source = waiting.popleft()
                try:
                    placed = await self._leaf(fd, holes, leaf, source)
                except OriginError as error:
                    failures.append(error)
                else:
                    await send_part([leaf.offset, placed.checksum, placed.by, placed.refused])

        try:
            await dag.side_by_side([(work,)] * min(_WIDTH, len(self.leaves)))
        finally:
            os.close(fd)
        if failures:
            raise failures[0]
        return Answer()

    async def _leaf(self, fd: int, holes: Holes, leaf: Leaf, source: Source | None) -> _Placed:
        """Have a leaf in the extent."""
        is_hole = holes.end(leaf.offset) >= leaf.offset + leaf.length
        if is_hole and source is None:  # most leaves: there is nothing to wait for
            local = self._local(fd, leaf, source, is_hole=True)
        else:
            call = partial(self._local, fd, leaf, source, is_hole=is_hole)
            local = await trio.to_thread.run_sync(call, limiter=self.jobs.moving)
        if local is not None:
            return local
        given = await self.jobs.block(self.origin, leaf.cid)
        # What `block` gives was compared; of a raw block that is the content.
        is_raw = cid.codec(leaf.cid) == cid.RAW
        data = given.block if is_raw else reading.content(leaf.cid, given.block)
        if len(data) != leaf.length:
            raise FormatError(f"the leaf {cid.to_text(leaf.cid)} has {len(data)} bytes, its file says {leaf.length}")
        checksum = await trio.to_thread.run_sync(_write, fd, leaf.offset, data, limiter=self.jobs.moving)
        return _Placed(checksum, given.by, given.refused)

    def _local(self, fd: int, leaf: Leaf, source: Source | None, *, is_hole: bool) -> _Placed | None:
        """A leaf that the extent has, or has now from a file of this machine; None where neither has it."""
        here = _here(fd, leaf, is_hole=is_hole)
        if here is not None:
            return _Placed(here, "")
        copied = self._copied(fd, leaf, source) if source is not None else None
        return None if copied is None else _Placed(xxhash.xxh3_64_intdigest(copied), COPIED)

    def _copied(self, fd: int, leaf: Leaf, source: Source) -> bytes | None:
        """A leaf as it lies in the extent, copied from a file; None where that file is gone, or holds another content
        by now. Raises OSError where the extent cannot be written."""
        try:
            file = quiet.open_regular(self.jobs.plain, source.path)
        except OSError:
            return None
        try:
            if os.fstat(file).st_ino != source.ino:
                return None
            moving.copy_part(file, source.offset, fd, leaf.offset, leaf.length)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return None
        finally:
            os.close(file)
        here = os.pread(fd, leaf.length, leaf.offset)
        return here if hashlib.sha256(here).digest() == cid.digest(leaf.cid) else None


@dataclass(slots=True)
class _GivenByHub:
    """Whether the Hub gives a leaf of a file at this moment: until then it does not count as an origin of the file."""

    jobs: Jobs
    files: list[HubFile]
    leaves: list[Leaf]

    async def __call__(self, send_part: SendPart, /) -> Answer:
        origin = self.jobs.only_hub(self.files, self.leaves)
        if self.jobs.hub is not None:
            for file in self.files:
                self.jobs.hub.ask_anew(file)
        for leaf in self.leaves if origin.origins else ():
            given = await self.jobs.block(origin, leaf.cid)
            return Answer({"given_by": given.by})
        return Answer({"given_by": ""})


@dataclass(slots=True)
class _Finish:
    """An extent that is whole: its bytes on disk, compared with their leaves, and their sha2-256."""

    jobs: Jobs
    extent: str
    leaves: list[Leaf]
    checksums: list[int]

    async def __call__(self, send_part: SendPart, /) -> Answer:
        return Answer(await trio.to_thread.run_sync(self._compare))

    def _compare(self) -> Header:
        fd = os.open(self.extent, _READ, dir_fd=self.jobs.extents)
        try:
            os.fsync(fd)
            whole = hashlib.sha256()
            lost: list[int] = []
            for leaf, checksum in zip(self.leaves, self.checksums, strict=True):
                data = os.pread(fd, leaf.length, leaf.offset)
                whole.update(data)
                # The checksum is of bytes that were compared with their CID.
                if xxhash.xxh3_64_intdigest(data) != checksum:
                    lost.append(leaf.offset)
            return {"sha256": whole.hexdigest(), "lost": lost}
        finally:
            os.close(fd)


def _sources(header: Header) -> list[Source | None]:
    return [None if told is None else Source(wire.path(told[0]), told[1], told[2]) for told in header["sources"]]


def _here(fd: int, leaf: Leaf, *, is_hole: bool) -> int | None:
    """The XXH3-64 of a leaf's bytes where the extent has it. A hole is neither read nor hashed."""
    if cid.codec(leaf.cid) != cid.RAW:
        return None
    if is_hole:
        digest, checksum = _zeros(leaf.length)
        return checksum if digest == cid.digest(leaf.cid) else None
    data = os.pread(fd, leaf.length, leaf.offset)
    return xxhash.xxh3_64_intdigest(data) if hashlib.sha256(data).digest() == cid.digest(leaf.cid) else None


@lru_cache(maxsize=64)
def _zeros(length: int) -> tuple[bytes, int]:
    """The sha2-256 and the XXH3-64 of so many zeros: most leaves of a file have one length."""
    zeros = bytes(length)
    return hashlib.sha256(zeros).digest(), xxhash.xxh3_64_intdigest(zeros)


def _write(fd: int, offset: int, data: bytes) -> int:
    """Write bytes to a file. Returns their XXH3-64. Raises OSError."""
    at, view = 0, memoryview(data)
    while at < len(data):
        at += os.pwrite(fd, view[at:], offset + at)
    return xxhash.xxh3_64_intdigest(data)
