"""The fetcher as the daemon sees it: jobs to await, and a process that is kept alive behind them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import trio

from ipfsfs.errors import BY_NAME, FetcherLost, OriginError, Said
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.peer_messages import Announced, Found, Leases
from ipfsfs.origins.settings import OriginSettings, SiteSettings
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.workers import wire
from ipfsfs.workers.awaited import Waiting
from ipfsfs.workers.fetcher import pinned
from ipfsfs.workers.fetcher.served import OriginState, Served
from ipfsfs.workers.fetcher.site_messages import (
    ListedBlob,
    PeerSource,
    PeerState,
    pack_announced,
    pack_source,
    unpack_found,
    unpack_leases,
)
from ipfsfs.workers.fetcher.stored import IMPORTED
from ipfsfs.workers.fetcher.table import COPIED, LeafTable, Source, pack_with, unpack
from ipfsfs.workers.fetcher.talk import FetcherTalk
from ipfsfs.workers.fetcher.zeros import ZEROS
from ipfsfs.workers.process import Process
from ipfsfs.workers.start import Command
from ipfsfs.workers.wire import Header

_MODULE: Final = "ipfsfs.workers.fetcher.program"
_SHA256_SIZE: Final = 32


@dataclass(slots=True, frozen=True)
class Arrived:
    """A leaf is in the extent: where it begins in the file, the XXH3-64 of its bytes, the name of the origin that
    gave it, or what stands for one that is on this machine, and what those said that were asked before. `by` is empty
    where the extent held the leaf already."""

    offset: int
    checksum: int
    by: str
    refused: tuple[Said, ...] = ()

    @property
    def is_copied(self) -> bool:
        """Whether it was copied from a file of this machine."""
        return self.by == COPIED

    @property
    def is_given(self) -> bool:
        """Whether an origin gave it, which answers, then."""
        return self.by not in ("", COPIED, IMPORTED, ZEROS)


@dataclass(slots=True, frozen=True)
class Finished:
    """An extent that is on disk: the sha2-256 of its bytes, and where leaves begin that are not what they were."""

    sha256: bytes
    lost: list[int]


@dataclass(slots=True, frozen=True)
class WholeFile:
    """A whole file that is in an extent: its sha2-256, and which origin gave it; empty where it was there already."""

    sha256: bytes
    served_by: str


@dataclass(slots=True)
class _Parts:
    """What comes of a job before its answer: iterate over it. Raises what the job ends with."""

    talk: FetcherTalk
    waiting: Waiting

    @property
    def header(self) -> Header:
        """Of the answer, once all parts have come."""
        return {} if self.waiting.answer is None else self.waiting.answer[0]

    @property
    def blob(self) -> bytes:
        """The bytes of the answer, once all parts have come."""
        return b"" if self.waiting.answer is None else self.waiting.answer[1]

    def __aiter__(self) -> _Parts:
        return self

    async def __anext__(self) -> list[object]:
        while not self.waiting.parts:
            if self.waiting.answer is not None:
                _raise_failure(self.waiting.answer[0])
                raise StopAsyncIteration
            if self.waiting.lost:
                raise FetcherLost(self.waiting.lost)
            await self.waiting.changed.wait()
        part: list[object] = self.waiting.parts.popleft()
        return part


@dataclass(slots=True)
class Fetcher:
    """Jobs for origins. Each may be cancelled; the process then drops it.

    All raise OriginError where no origin gives what is asked for, FormatError for a DAG that is not what it should be,
    StoreError where an extent cannot be written, and FetcherLost where the process died; then they may be called again.
    """

    _process: Process
    _talk: FetcherTalk
    served: dict[str, Served] = field(default_factory=dict)
    """By the name of an origin, what it has given since the daemon began."""

    def expect(self) -> None:
        """A file is known that is not here, and may be read: begin to start the process, which takes a third of a
        second. Never waits."""
        if self._process.pid is None:
            self._talk.expect()

    def hint(self, root: bytes) -> None:
        """Files below this root are not here, and may be read: who has the root is asked for them, too. Never waits."""
        self._talk.hint(root)

    @property
    def origins(self) -> tuple[OriginState, ...]:
        """How the origins fare, as the process told with its last answer; empty before that."""
        return self._talk.origins

    @property
    def pid(self) -> int | None:
        """The process, if one is running."""
        return self._process.pid

    @property
    def state(self) -> str:
        """In words for `status`; empty while all is well."""
        return self._process.state

    def end_jobs(self) -> None:
        """End the process with all that it does: nothing of that writes to an extent any more once its jobs fail."""
        self._process.end()

    async def table(
        self,
        root: bytes,
        size: int,
        progress: Callable[[], None] = lambda: None,
        from_peers: PeerSource | None = None,
    ) -> LeafTable:
        """The leaves of a file of `size` bytes. `progress` is called as nodes of it come. `from_peers`: what other
        machines are asked for them first."""
        header = {"do": "table", "root": root.hex(), "size": size, "peers": pack_source(from_peers)}
        async with self._parts(header, b"") as parts:
            async for _ in parts:
                progress()
            return LeafTable(parts.blob)

    async def held(self, root: bytes, size: int) -> None:
        """Return when the origins have said that they hold a file of `size` bytes now, and given parts of it."""
        await self._answer({"do": "held", "root": root.hex(), "size": size})

    async def pinned(self, root: bytes, report: Callable[[int], None]) -> list[PinnedFile]:
        """The files below a root, whose nodes are kept in the store then. `report` is told how many are known."""
        async with self._parts({"do": "pinned", "root": root.hex()}, b"") as parts:
            async for count in parts:
                with _sensible():
                    report(_number(count))
            with _sensible():
                return pinned.unpack(parts.blob)

    @asynccontextmanager
    async def leaves(
        self,
        extent: str,
        records: bytes,
        sources: Sequence[Source | None],
        on_hub: Sequence[HubFile] = (),
        from_peers: PeerSource | None = None,
    ) -> AsyncIterator[AsyncIterator[Arrived]]:
        """Have leaves written into an extent: `async with ... as arriving: async for arrived in arriving`. `sources`:
        for each of them, where it may be had on this machine. `on_hub`: files on the Hub that have them at these
        offsets, asked where no other origin has a leaf. `from_peers`: what other machines are asked for the leaves as,
        before all origins."""
        told = [None if source is None else [wire.text(source.path), *source[1:]] for source in sources]
        hub = [asdict(file) for file in on_hub]
        header = {"do": "leaves", "extent": extent, "sources": told, "hub": hub, "peers": pack_source(from_peers)}
        async with self._parts(header, records) as parts:
            yield self._arrivals(parts, {leaf.offset: leaf.length for leaf in unpack(records)})

    async def whole(
        self, extent: str, name: str, size: int, on_hub: Sequence[HubFile], progress: Callable[[int], None]
    ) -> WholeFile:
        """Have a file in an extent that is known by its digest (`name`: 64 digits of a sha2-256, or 40 of git's blob or
        a plain sha1) and perhaps its size (else -1); what the extent holds is its beginning, or all of it. It is on
        disk then. `progress` is told how many bytes are there."""
        header = {"do": "whole", "extent": extent, "name": name, "size": size, "hub": [asdict(file) for file in on_hub]}
        async with self._parts(header, b"") as parts:
            async for told in parts:
                with _sensible():
                    progress(_number(told[0]))
            with _sensible():
                return WholeFile(bytes.fromhex(parts.header["sha256"]), str(parts.header["served_by"]))

    async def cut(self, extent: str, root: bytes, size: int, on_hub: Sequence[HubFile]) -> LeafTable:
        """Have a file in an extent of which the root and the size are known, and no leaves; returns those. It is on
        disk then, and each leaf what the root says. What the extent holds is its beginning, or all of it. Raises
        OtherContent where none of the files on the Hub is the one."""
        header = {"do": "cut", "extent": extent, "root": root.hex(), "size": size}
        async with self._parts({**header, "hub": [asdict(file) for file in on_hub]}, b"") as parts:
            async for _ in parts:
                pass
            return LeafTable(parts.blob)

    async def given(self, table: LeafTable, sha256: bytes, on_hub: Sequence[HubFile]) -> str:
        """The name of the Hub, if it has all of a file at this moment as one of these, by its own word, and gives some
        leaves of it. Only then does it count as an origin of the file. Raises OriginError with why it does not."""
        header = {"do": "given", "sha256": sha256.hex(), "hub": [asdict(file) for file in on_hub]}
        answer, _ = await self._answer(header, table.records)
        with _sensible():
            return str(answer["given_by"])

    async def listed(self, name: str, listing: bytes) -> tuple[list[str], int]:
        """The paths that a repository's listing has for a digest, and the size of the file; -1 where it has none."""
        header, _ = await self._answer({"do": "listed", "name": name}, listing)
        with _sensible():
            return [str(path) for path in header["paths"]], int(str(header["size"]))

    async def hub_rate(self, file: HubFile, length: int) -> float:
        """How many bytes a second the Hub gives of a file, of which it is asked for `length` bytes."""
        answer, _ = await self._answer({"do": "hub_rate", "hub": [asdict(file)], "length": length})
        with _sensible():
            return float(answer["rate"])

    async def is_weights(self, extent: str, suffix: str, size: int, here: int) -> tuple[bool, int]:
        """Whether a file in an extent begins as one of the format that a name with this end has, which holds no code;
        the first `here` bytes of it are there. How many must be, where these are not enough; else 0."""
        header = {"do": "is_weights", "extent": extent, "suffix": suffix, "size": size, "here": here}
        answer, _ = await self._answer(header)
        with _sensible():
            return answer["is_weights"] is True, min(_number(answer["needs"]), size)

    async def listed_all(self, listing: bytes) -> list[ListedBlob]:
        """All large files that a repository's listing names."""
        _, blob = await self._answer({"do": "listed_all"}, listing)
        with _sensible():
            return [ListedBlob(str(path), _number(size), *texts) for path, size, *texts in json.loads(blob)]

    async def public(self, files: Sequence[HubFile], sha256: bytes) -> bool:
        """Whether the Hub gives a content to anyone, as one of these files; asked without a token. Raises OriginError
        where that cannot be known."""
        header = {"do": "public", "sha256": sha256.hex(), "hub": [asdict(file) for file in files]}
        answer, _ = await self._answer(header)
        with _sensible():
            return answer["public"] is True

    async def find(self, sha256s: Sequence[bytes], within_s: float) -> dict[bytes, Found]:
        """Which of these blobs other machines have, confirmed by one of them at this moment; asked for so long, and
        what is not known then is not found."""
        _, blob = await self._answer({"do": "find", "within_s": within_s}, b"".join(sha256s))
        with _sensible():
            return unpack_found(json.loads(blob))

    async def lease(
        self, want: Sequence[tuple[bytes, int]], hold: Sequence[tuple[bytes, int]], release: Sequence[bytes]
    ) -> Leases:
        """Ask for leases (`want`: sha2-256 and size, -1 where that is not known), renew those that are held (with bytes
        done), and give others back. What no owner answers for is granted."""
        told = {
            "want": [[sha256.hex(), size] for sha256, size in want],
            "hold": [[sha256.hex(), done] for sha256, done in hold],
            "release": [sha256.hex() for sha256 in release],
        }
        _, blob = await self._answer({"do": "lease"}, json.dumps(told).encode())
        with _sensible():
            return unpack_leases(blob)

    async def announce(self, blobs: Sequence[Announced]) -> None:
        """Tell the owners of blobs that this machine has them. Raises OriginError where some have no owner that took
        it."""
        await self._answer({"do": "announce"}, pack_announced(blobs))

    async def site(self) -> list[PeerState]:
        """How the other machines fare, asked at this moment; takes 2 seconds where one does not answer."""
        _, blob = await self._answer({"do": "site"})
        with _sensible():
            return [PeerState(**state) for state in json.loads(blob)]

    async def finish(self, extent: str, table: LeafTable, checksums: list[int]) -> Finished:
        """Have an extent that is whole on disk, and compare all of it once more, with the checksums that were told of
        its leaves, and their CIDs."""
        header, _ = await self._answer({"do": "finish", "extent": extent}, pack_with(table, checksums))
        with _sensible():
            finished = Finished(bytes.fromhex(header["sha256"]), [_number(offset) for offset in header["lost"]])
            if len(finished.sha256) != _SHA256_SIZE or not all(offset < table.size for offset in finished.lost):
                raise ValueError("no digest, or an offset beyond the file")
        return finished

    @asynccontextmanager
    async def _parts(self, header: Header, blob: bytes) -> AsyncIterator[_Parts]:
        waiting = self._talk.awaited.begin(header, blob)
        try:
            yield _Parts(self._talk, waiting)
        finally:
            self._talk.awaited.forget(waiting)

    async def _answer(self, header: Header, blob: bytes = b"") -> tuple[Header, bytes]:
        waiting = self._talk.awaited.begin(header, blob)
        try:
            answer = await self._talk.awaited.answer(waiting)
        finally:
            self._talk.awaited.forget(waiting)
        _raise_failure(answer[0])
        return answer

    async def _arrivals(self, parts: _Parts, lengths: dict[int, int]) -> AsyncIterator[Arrived]:
        async for part in parts:
            with _sensible():
                offset, checksum, by, refused = part
                arrived = Arrived(_number(offset), _number(checksum), str(by), _said(refused))
                length = lengths[arrived.offset]  # no other leaf was asked for
            if arrived.by not in ("", ZEROS):
                self.served.setdefault(arrived.by, Served()).add(length)
            yield arrived


def _raise_failure(header: Header) -> None:
    if "failed" in header:
        with _sensible():
            error = BY_NAME.get(header["error"], OriginError)(str(header["failed"]), hint=str(header.get("hint", "")))
            if isinstance(error, OriginError):
                error.said = _said(header.get("said", ()))
        raise error


@contextmanager
def _sensible() -> Iterator[None]:
    """What the process said is looked at while the block runs. It reads what comes from anywhere, so that what it says
    may make no sense: that raises FetcherLost, and is no bug of the daemon's."""
    try:
        yield
    except (LookupError, TypeError, ValueError, struct.error) as error:
        raise FetcherLost(f"the fetcher said what makes no sense: {error}") from error


def _number(told: Any) -> int:
    """A number of 64 bits. Raises ValueError."""
    if not isinstance(told, int) or not 0 <= told < 1 << 64:
        raise ValueError(f"no number of 64 bits: {told!r:.80}")
    return told


def _said(told: Any) -> tuple[Said, ...]:
    return tuple(Said(str(origin), str(words)) for origin, words in told)


@asynccontextmanager
async def open_fetcher(
    extents_fd: int,
    blocks_fd: int,
    plain_fd: int,
    settings: Sequence[OriginSettings],
    site: SiteSettings | None = None,
    *,
    temporary: bytes = b"/",
) -> AsyncIterator[Fetcher]:
    """A fetcher that writes into the directory of extents, reads files of the plain directory, and asks the directory
    of blocks before all origins; its process ends with the block. `site`: how other machines are asked; None where none
    are.

    To be entered from the main thread: the process dies with the thread that started it.
    """
    # By a file in memory: arguments of a process can be read by every user of the machine.
    told = os.memfd_create("origins", os.MFD_CLOEXEC)
    try:
        said = {"origins": [asdict(entry) for entry in settings], "site": None if site is None else asdict(site)}
        os.write(told, json.dumps(said).encode())
        talk = FetcherTalk()
        process = Process(Command("fetcher", _MODULE, (extents_fd, blocks_fd, plain_fd, told), (), temporary), talk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(process.run)
            yield Fetcher(process, talk)
            nursery.cancel_scope.cancel()
    finally:
        os.close(told)
