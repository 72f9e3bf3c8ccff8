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

from ipfsfs.errors import FormatError, IpfsfsError, NotHeld, OriginError, Said
from ipfsfs.origins import dag
from ipfsfs.origins.checked import Checked
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubBlocks, HubFiles
from ipfsfs.origins.hub_lane import HubLane
from ipfsfs.origins.ordered import Given, Ordered
from ipfsfs.origins.peers import Peers
from ipfsfs.plain import moving, quiet
from ipfsfs.plain.holes import Holes
from ipfsfs.unixfs import cid, file, reading
from ipfsfs.workers import wire
from ipfsfs.workers.fetcher import holding, pinned, site_messages, table
from ipfsfs.workers.fetcher.hub_jobs import Listed, ListedAll, Whole, hub_files
from ipfsfs.workers.fetcher.job import Answer, Job, SendPart
from ipfsfs.workers.fetcher.peer_jobs import SiteJob
from ipfsfs.workers.fetcher.peer_leaves import PeerLeaves, PeersFirst
from ipfsfs.workers.fetcher.runs import Runs, not_here
from ipfsfs.workers.fetcher.sought import ByDigest, ByRoot
from ipfsfs.workers.fetcher.stored import StoredFirst
from ipfsfs.workers.fetcher.table import COPIED, Leaf, Source
from ipfsfs.workers.fetcher.trial_jobs import HubRate, IsWeights
from ipfsfs.workers.fetcher.zeros import ZEROS, is_zeros

_WIDTH: Final = 16
"""Blocks of one job that are asked for at the same time."""
_MOVING: Final = 4
"""Threads that read and write extents at the same time."""
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
    """Makes jobs; all share the origins, and what is asked for at once. `hub`: None where no Hub is to be asked;
    `peers`: None where there are none; `anyones_hub`: the Hub as it is for anyone, without a token."""

    extents: int
    plain: int
    origin: StoredFirst
    hub: HubFiles | None = None
    peers: Peers | None = None
    anyones_hub: HubFiles | None = None
    _from_peers: PeerLeaves | None = None
    _asked: dict[tuple[bytes, ...], _Asked] = field(default_factory=dict)
    """By block and origins, what is being asked for: several files may have it in common."""
    moving: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_MOVING))
    _asking: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4 * _WIDTH))

    def job(self, what: str, header: wire.Header, blob: bytes) -> Job:
        """The job that a request names. Raises FormatError where there is none of that name."""
        match what:
            case "table":
                origin = self._with_peers(self.origin, header, [], [])
                return _Table(origin, bytes.fromhex(header["root"]), header["size"])
            case "leaves":
                leaves, sources = table.unpack(blob), _sources(header)
                on_hub = hub_files(header)
                origin = self._with_peers(self._with_hub(on_hub, leaves), header, leaves, on_hub)
                if isinstance(origin, PeersFirst):
                    origin.runs = Runs(not_here(leaves, sources))
                return _Leaves(self, header["extent"], leaves, origin, sources)
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
            case "hub_rate":
                return HubRate(self.hub, hub_files(header), header["length"])
            case "is_weights":
                return IsWeights(self.extents, header["extent"], header["suffix"], header["size"], header["here"])
            case "listed_all":
                return ListedAll(blob)
            case "find" | "lease" | "announce" | "site" | "public":
                return SiteJob(self.peers, self.anyones_hub, what, header, blob)
            case "pinned":
                return _Pinned(self, bytes.fromhex(header["root"]))
        raise FormatError(f"no such job: {what}")

    def _with_hub(self, files: list[HubFile], leaves: list[Leaf]) -> StoredFirst:
        """All origins, and behind them what the Hub is known to have these leaves in."""
        if self.hub is None or not files:
            return self.origin
        where = {leaf.cid: (leaf.offset, leaf.length) for leaf in leaves}
        on_hub = [Checked(HubBlocks(self.hub, file, where)) for file in files]
        known = self.origin.origin
        return StoredFirst(self.origin.blocks, Ordered([*known.origins, *on_hub], known.quick))

    def _with_peers(
        self, origin: StoredFirst, header: wire.Header, leaves: list[Leaf], on_hub: list[HubFile]
    ) -> StoredFirst:
        """Before all origins, the machines that are said to have the file."""
        source = site_messages.unpack_source(header.get("peers"))
        if self.peers is None or source is None:
            return origin
        if self._from_peers is None:
            self._from_peers = PeerLeaves(self.peers, None if self.hub is None else HubLane(self.hub))
        where = {leaf.cid: (leaf.offset, leaf.length) for leaf in leaves}
        return PeersFirst(origin.blocks, origin.origin, self._from_peers.load(source), where, on_hub)

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
            # Without waiting where that can be: leaves are to be asked for in their order.
            try:
                self._asking.acquire_nowait()
            except trio.WouldBlock:
                await self._asking.acquire()
            try:
                asked.given = await origin.given(block_cid)
                return asked.given
            finally:
                self._asking.release()
        except IpfsfsError as error:
            asked.failure = error
            raise
        finally:
            del self._asked[key]
            asked.done.set()


@dataclass(slots=True)
class _Table:
    """The table of a file's leaves. How many nodes of it have come is told."""

    origin: StoredFirst
    root: bytes
    size: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        walk = await dag.file(self.origin, self.root, self.size, send_part)
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
            return _Placed(here, ZEROS if is_zeros(leaf.cid, leaf.length) else "")
        copied = self._copied(fd, leaf, source) if source is not None else None
        return None if copied is None else _Placed(xxhash.xxh3_64_intdigest(copied), COPIED)

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

    def _compare(self) -> wire.Header:
        fd = os.open(self.extent, _READ, dir_fd=self.jobs.extents)
        try:
            os.fsync(fd)
            whole = hashlib.sha256()
            lost: list[int] = []
            for leaf, checksum in zip(self.leaves, self.checksums, strict=True):
                data = _read(fd, leaf)
                whole.update(data)
                # The checksum is of bytes that were compared with their CID.
                if xxhash.xxh3_64_intdigest(data) != checksum:
                    lost.append(leaf.offset)
            return {"sha256": whole.hexdigest(), "lost": lost}
        finally:
            os.close(fd)


def _sources(header: wire.Header) -> list[Source | None]:
    return [None if told is None else Source(wire.path(told[0]), *told[1:4]) for told in header["sources"]]


def _here(fd: int, leaf: Leaf, *, is_hole: bool) -> int | None:
    """The XXH3-64 of a leaf's bytes where the extent has it. A hole is neither read nor hashed."""
    if is_hole:
        return _checksum_of_zeros(leaf.length) if is_zeros(leaf.cid, leaf.length) else None
    data = _read(fd, leaf)
    blocks = (data,) if cid.codec(leaf.cid) == cid.RAW else file.leaf_blocks(data)
    is_it = any(hashlib.sha256(block).digest() == cid.digest(leaf.cid) for block in blocks)
    return xxhash.xxh3_64_intdigest(data) if is_it else None


def _read(fd: int, leaf: Leaf) -> bytes:
    """The bytes of an extent where a leaf lies; none where the disk refuses to read them: the leaf is written anew."""
    try:
        return os.pread(fd, leaf.length, leaf.offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


@lru_cache(maxsize=64)
def _checksum_of_zeros(length: int) -> int:
    """The XXH3-64 of so many zeros: most leaves of a file have one length."""
    return xxhash.xxh3_64_intdigest(bytes(length))


def _write(fd: int, offset: int, data: bytes) -> int:
    """Write bytes to a file. Returns their XXH3-64. Raises OSError."""
    at, view = 0, memoryview(data)
    while at < len(data):
        at += os.pwrite(fd, view[at:], offset + at)
    return xxhash.xxh3_64_intdigest(data)
