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
from typing import Final

import trio
import xxhash

from ipfsfs.errors import FormatError, IpfsfsError, NotHeld, OriginError
from ipfsfs.origins import dag
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_files import HubBlocks, HubFile, HubFiles
from ipfsfs.origins.ordered import Given, Ordered
from ipfsfs.plain import moving, quiet
from ipfsfs.plain.holes import Holes
from ipfsfs.unixfs import cid, file, reading
from ipfsfs.workers import wire
from ipfsfs.workers.fetcher import holding, pinned, table
from ipfsfs.workers.fetcher.hub_jobs import Listed, Whole, hub_files
from ipfsfs.workers.fetcher.job import Answer, Job, SendPart
from ipfsfs.workers.fetcher.sought import ByDigest, ByRoot
from ipfsfs.workers.fetcher.stored import StoredFirst
from ipfsfs.workers.fetcher.table import COPIED, Leaf, Source
from ipfsfs.workers.fetcher.zeros import ZEROS, is_zeros
from ipfsfs.workers.wire import Header

_WIDTH: Final = 16
"""Blocks of one job that are asked for at the same time."""
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, eq=False)
class _Asked:
    """A block that is being asked for: what came of that once it is `done`; neither where the job was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    given: Given | None = None
    failure: IpfsfsError | None = None


@dataclass(slots=True)
class Jobs:
    """Makes jobs; all share the origins, and what is asked for at once. `hub`: None where no Hub is to be asked."""

    extents: int
    plain: int
    origin: StoredFirst
    hub: HubFiles | None = None
    _asked: dict[tuple[bytes, ...], _Asked] = field(default_factory=dict)
    """By block and origins, what is being asked for: several files may have it in common."""
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
                sha256 = bytes.fromhex(header["sha256"])
                return _GivenByHub(self, hub_files(header), table.unpack(blob), sha256)
            case "whole":
                sought = ByDigest(header["name"])
                return Whole(self.extents, header["extent"], self.hub, hub_files(header), sought, header["size"])
            case "cut":
                root = ByRoot(bytes.fromhex(header["root"]), header["size"])
                return Whole(self.extents, header["extent"], self.hub, hub_files(header), root, root.size)
            case "listed":
                return Listed(header["name"], blob)
            case "pinned":
                return _Pinned(self, bytes.fromhex(header["root"]))
        raise FormatError(f"no such job: {what}")

    def _with_hub(self, files: list[HubFile], leaves: list[Leaf]) -> StoredFirst:
        """All origins, and behind them what the Hub is known to have these leaves in."""
        if self.hub is None or not files:
            return self.origin
        where = {leaf.cid: (leaf.offset, leaf.length) for leaf in leaves}
        on_hub = [Checked(HubBlocks(self.hub, file, where)) for file in files]
        return StoredFirst(self.origin.blocks, Ordered([*self.origin.origin.origins, *on_hub]))

    def open_source(self, source: Source) -> int:
        """A descriptor of the file that may hold a leaf. Raises OSError."""
        if source.place == "store":
            return os.open(source.path, _READ, dir_fd=self.extents)
        return quiet.open_regular(self.plain, source.path)

    async def block(self, origin: StoredFirst, block_cid: bytes) -> Given:
        """A block, compared with its CID, and the origin that gave it; asked for once, however many jobs want it at the
        same time. Raises OriginError."""
        key = block_cid, *(id(one).to_bytes(8, "little") for one in origin.origin.origins)
        while (other := self._asked.get(key)) is not None:
            await other.done.wait()
            if other.failure is not None:
                raise other.failure
            if other.given is not None:
                return Given(other.given.block, COPIED)  # the origin gave it once
        asked = self._asked[key] = _Asked()
        try:
            async with self._asking:
                asked.given = await origin.given(block_cid)
                return asked.given
        except IpfsfsError as error:
            asked.failure = error
            raise
        finally:
            del self._asked[key]
            asked.done.set()


@dataclass(slots=True)
class _Table:
    """The table of a file's leaves. How many nodes of it have come is told."""

    jobs: Jobs
    root: bytes
    size: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        walk = await dag.file(self.jobs.origin, self.root, self.size, send_part)
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
                    given = await self._leaf(fd, holes, leaf, source)
                except OriginError as error:
                    failures.append(error)
                else:
                    await send_part([leaf.offset, xxhash.xxh3_64_intdigest(given.block), given.by, given.refused])

        try:
            await dag.side_by_side([(work,)] * min(_WIDTH, len(self.leaves)))
        finally:
            os.close(fd)
        if failures:
            raise failures[0]
        return Answer()

    def _copied(self, fd: int, leaf: Leaf, source: Source) -> bytes | None:
        """A leaf as it lies in the extent, copied from a file; None where that file is gone, or holds another content
        by now. Raises OSError where the extent cannot be written."""
        try:
            opened = self.jobs.open_source(source)
        except OSError:
            return None
        try:
            if os.fstat(opened).st_ino != source.ino:
                return None
            moving.copy_part(opened, source.offset, fd, leaf.offset, leaf.length)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return None
        finally:
            os.close(opened)
        here = os.pread(fd, leaf.length, leaf.offset)
        return here if hashlib.sha256(here).digest() == cid.digest(leaf.cid) else None

    async def _leaf(self, fd: int, holes: Holes, leaf: Leaf, source: Source | None) -> Given:
        """The leaf's content, and where it is from."""
        here = _here(fd, holes, leaf)
        if here is not None:
            return Given(here, ZEROS if is_zeros(leaf.cid, leaf.length) else "")
        if source is not None and (copied := await trio.to_thread.run_sync(self._copied, fd, leaf, source)) is not None:
            return Given(copied, COPIED)
        given = await self.jobs.block(self.origin, leaf.cid)
        data = reading.content(leaf.cid, given.block)
        if len(data) != leaf.length:
            raise FormatError(f"the leaf {cid.to_text(leaf.cid)} has {len(data)} bytes, its file says {leaf.length}")
        at = 0
        while at < len(data):
            at += os.pwrite(fd, memoryview(data)[at:], leaf.offset + at)
        return given._replace(block=data)


@dataclass(slots=True)
class _GivenByHub:
    """Whether the Hub has all of a file at this moment, and gives some of it; fails where it does not. Until then it
    does not count as an origin of the file."""

    jobs: Jobs
    files: list[HubFile]
    leaves: list[Leaf]
    sha256: bytes

    async def __call__(self, send_part: SendPart, /) -> Answer:
        hub = self.jobs.hub
        if hub is None:
            raise NotHeld("no Hub is to be asked (mount --hub)")
        failures: list[OriginError] = []
        for on_hub in self.files:
            try:
                await holding.must_be_on_hub(hub, on_hub, self.leaves, self.sha256)
                return Answer({"given_by": hub.name})
            except OriginError as error:
                failures.append(error)
        if not failures:
            raise NotHeld(f"no link or listing says where the Hub has {self.sha256.hex()}")
        hint = next((error.hint for error in failures if error.hint), "")
        raise OriginError("; ".join(dict.fromkeys(map(str, failures))), hint=hint)


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
                data = _read(fd, leaf)
                whole.update(data)
                # Of a leaf in a dag-pb block the content alone does not tell its CID: the checksum has to do.
                is_right = cid.codec(leaf.cid) != cid.RAW or hashlib.sha256(data).digest() == cid.digest(leaf.cid)
                if xxhash.xxh3_64_intdigest(data) != checksum or not is_right:
                    lost.append(leaf.offset)
            return {"sha256": whole.hexdigest(), "lost": lost}
        finally:
            os.close(fd)


def _sources(header: Header) -> list[Source | None]:
    return [None if told is None else Source(wire.path(told[0]), *told[1:4]) for told in header["sources"]]


def _here(fd: int, holes: Holes, leaf: Leaf) -> bytes | None:
    """The content of a leaf where the extent has it. Most are not here yet: holes are neither read nor hashed."""
    if holes.end(leaf.offset) >= leaf.offset + leaf.length:
        return bytes(leaf.length) if is_zeros(leaf.cid, leaf.length) else None
    data = _read(fd, leaf)
    blocks = (data,) if cid.codec(leaf.cid) == cid.RAW else file.leaf_blocks(data)
    return data if any(hashlib.sha256(block).digest() == cid.digest(leaf.cid) for block in blocks) else None


def _read(fd: int, leaf: Leaf) -> bytes:
    """The bytes of an extent where a leaf lies; none where the disk refuses to read them: the leaf is written anew."""
    try:
        return os.pread(fd, leaf.length, leaf.offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""
