"""What the fetching process has from the Hub: whole files of which no leaves are known, and what a listing of a
repository says. Listings were written by other programs: they are read here, not in the daemon.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Final

import trio

from ipfsfs.errors import FormatError, OriginError, OtherContent
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import KINDS, MAIN, HubFiles
from ipfsfs.workers import memory
from ipfsfs.workers.fetcher.job import Answer, SendPart
from ipfsfs.workers.fetcher.site_messages import ListedBlob
from ipfsfs.workers.fetcher.sought import Sought
from ipfsfs.workers.wire import Header

_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_REVISION: Final = re.compile(rf"[0-9a-f]{{40}}|{MAIN}")
_PATH_MAX: Final = 4_096
_SIZE_MAX: Final = (1 << 63) - 1
LISTED_MOST: Final = 8
"""Paths of one digest that are told of a listing."""
_BLOBS_MOST: Final = 100_000
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_TOLD: Final = 8 << 20
"""Bytes after which progress is told again."""
_LISTING_FORMAT: Final = 1
_TRIES: Final = 5
"""How often a file goes on from where it broke off, without having come any further."""


def hub_files(header: Header) -> list[HubFile]:
    """The files on the Hub that a job names, without those that cannot be a repository's: names come from anywhere."""
    return [file for file in (HubFile(**entry) for entry in header.get("hub", [])) if _can_be(file)]


def _can_be(file: HubFile) -> bool:
    return (
        file.kind in KINDS
        and _NAME.fullmatch(file.repository) is not None
        and ".." not in file.repository
        and _REVISION.fullmatch(file.revision) is not None
        and len(file.path) <= _PATH_MAX
        and not any("\ud800" <= letter <= "\udfff" for letter in file.path)  # no text, so no URL either
        and not any(part in ("", ".", "..") for part in file.path.split("/"))
    )


@dataclass(slots=True)
class Whole:
    """A file into an extent, which may hold its beginning. Of what comes, the size so far is told."""

    extents: int
    extent: str
    hub: HubFiles | None
    files: Sequence[HubFile]
    sought: Sought
    size: int
    """Bytes, where that is known; else -1."""

    async def __call__(self, send_part: SendPart, /) -> Answer:
        fd = os.open(self.extent, _OPEN, dir_fd=self.extents)
        try:
            if os.fstat(fd).st_size and (found := await trio.to_thread.run_sync(self.sought.found, fd)) is not None:
                return _served(found, "")
            return await self._from_hub(fd, send_part)
        finally:
            os.close(fd)

    async def _from_hub(self, fd: int, send_part: SendPart) -> Answer:
        failures: list[OriginError] = []
        for file in self.files if self.hub is not None else ():
            try:
                return await self._from(file, fd, send_part)
            except OriginError as error:
                failures.append(error)
        if not failures:
            raise OriginError(self._unasked())
        kind = OtherContent if all(isinstance(error, OtherContent) for error in failures) else OriginError
        hint = next((error.hint for error in failures if error.hint), "")
        raise kind("; ".join(map(str, failures)), hint=hint)

    async def _from(self, file: HubFile, fd: int, send_part: SendPart) -> Answer:
        """From one file: what is there may be its beginning, or that of another one."""
        assert self.hub is not None
        begun = os.fstat(fd).st_size
        for start in (begun, 0) if begun > 0 and (self.size < 0 or begun < self.size) else (0,):
            await self._fill(fd, file, start, send_part)
            found = await trio.to_thread.run_sync(self.sought.found, fd)
            if found is not None:
                return _served(found, self.hub.name)
            os.ftruncate(fd, 0)
        raise OtherContent(
            f"what {self.hub.name} gives for {file.path} at {file.revision[:8]} is not {self.sought.shown}"
        )

    def _unasked(self) -> str:
        if self.hub is None:
            return "no Hub is to be asked (mount --hub)"
        return f"no link or listing says where the Hub has {self.sought.shown}"

    async def _fill(self, fd: int, file: HubFile, start: int, send_part: SendPart) -> None:
        """Have a file in the extent, from `start` on. A connection that breaks is taken up again."""
        assert self.hub is not None
        at, tries = start, 0
        os.ftruncate(fd, start)
        while True:
            before = at
            try:
                async with self.hub.open(file, at) as part:
                    if self.size not in (-1, part.total):
                        raise OriginError(f"{self.hub.name} has {part.total} bytes of {file.path}, not {self.size}")
                    told = at
                    while piece := await part.response.piece():
                        if at + len(piece) > part.total:
                            raise OriginError(f"{self.hub.name} sends more than the {part.total} bytes of a file")
                        at += await trio.to_thread.run_sync(_write, fd, piece, at)
                        if at - told >= _TOLD:
                            told = at
                            await send_part([at, part.total])
                if at == part.total:
                    return
            except OriginError as error:
                tries = tries + 1 if at == before else 0
                if not error.retry or tries > _TRIES or at == start == 0:
                    raise
                await trio.sleep(min(2.0**tries / 4, 5.0))


@dataclass(slots=True)
class Listed:
    """Which paths a repository's listing (`trees/<commit>.json`) has for a digest, and of which size."""

    name: str
    listing: bytes

    async def __call__(self, send_part: SendPart, /) -> Answer:
        paths, size = await trio.to_thread.run_sync(self.look)
        return Answer({"paths": paths, "size": size})

    def look(self) -> tuple[list[str], int]:
        """The paths, and the size; -1 where the listing does not say it. Raises FormatError."""
        found: list[str] = []
        size = -1
        for path, entry in _entries(self.listing):
            if isinstance(entry, dict) and self.name in (entry.get("lfs_sha256"), entry.get("blob_id")):
                if len(path) <= _PATH_MAX and len(found) < LISTED_MOST:
                    found.append(path)
                said = entry.get("size")
                size = said if isinstance(said, int) and 0 <= said <= _SIZE_MAX else size
        return found, size


@dataclass(slots=True)
class ListedAll:
    """All large files of a repository's listing."""

    listing: bytes

    async def __call__(self, send_part: SendPart, /) -> Answer:
        blobs = await trio.to_thread.run_sync(self.look)
        return Answer({}, json.dumps([astuple(blob) for blob in blobs]).encode())

    def look(self) -> list[ListedBlob]:
        """Raises FormatError."""
        found: list[ListedBlob] = []
        for path, entry in _entries(self.listing):
            if not isinstance(entry, dict) or len(path) > _PATH_MAX or len(found) >= _BLOBS_MOST:
                continue
            size, sha256, xet = entry.get("size"), entry.get("lfs_sha256"), entry.get("xet_hash")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _SIZE_MAX:
                continue
            if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
                is_xet = isinstance(xet, str) and _SHA256.fullmatch(xet)
                found.append(ListedBlob(path, size, sha256, str(xet) if is_xet else ""))
        return found


def _served(found: Answer, by: str) -> Answer:
    return replace(found, header={**found.header, "served_by": by})


def _entries(listing: bytes) -> list[tuple[str, Any]]:
    try:
        with memory.bounded():
            said = json.loads(listing)
        if said["format_version"] != _LISTING_FORMAT:
            return []
        return [(str(path), entry) for path, entry in said["files"].items()]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError("it is no listing of a repository") from error
    except MemoryError:
        memory.end_by_signal()
        raise


def _write(fd: int, data: bytes, offset: int) -> int:
    at = 0
    while at < len(data):
        at += os.pwrite(fd, memoryview(data)[at:], offset + at)
    return at
