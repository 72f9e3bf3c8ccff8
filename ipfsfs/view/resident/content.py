"""The content of a resident file, as a handle holds it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.plain import content, held
from ipfsfs.plain.lease import Writers, writers_of
from ipfsfs.view.backing import Caller
from ipfsfs.view.kernel_cache import stamp
from ipfsfs.view.native import Native
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFile, OpenFiles
from ipfsfs.view.resident.breaking import Breaker
from ipfsfs.view.resident.read_job import ResidentRead
from ipfsfs.view.resident.reading import LARGEST_READ, Reader
from ipfsfs.view.resident.writing import Writer
from ipfsfs.view.upkeep.upkeep import Upkeep

_MAPPED_S: Final = 0.001
_MAPPED_MOST_S: Final = 1.0
"""How often, at first and later, it is looked whether a file can still be written through a mapping."""


@dataclass(slots=True)
class Serving:
    """What serves the contents of all resident files."""

    nodes: NodeTable
    files: OpenFiles
    reader: Reader
    writer: Writer
    breaker: Breaker
    upkeep: Upkeep
    native: Native
    fsync_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(8))


@dataclass(slots=True, eq=False)
class ResidentContent:
    """One open of a resident file. `fd` is shared by all readers, and a writer's own. `opener`: as whom it is written,
    and whose process is named when a promise is broken."""

    file: OpenFile
    fd: int
    writes: bool
    opener: Caller
    serving: Serving

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """As `Content`."""
        return self.serving.reader.read_nowait(self.file, self.fd, offset, size)

    def job(self, offset: int, size: int) -> ResidentRead | None:
        """As `Content`: none of more than a buffer takes."""
        if size > LARGEST_READ:
            return None
        return ResidentRead.of(self.file, self.fd, offset, size)

    async def read(self, offset: int, size: int) -> memoryview:
        """As `Content`."""
        return await self.serving.reader.read(self.file, self.fd, offset, size)

    def write_nowait(self, offset: int, data: bytes) -> int | None:
        """As `Content`."""
        return self.serving.writer.write_nowait(self.file, self.fd, self.opener, offset, data)

    async def write(self, offset: int, data: bytes) -> int:
        """As `Content`."""
        return await self.serving.writer.write(self.file, self.fd, self.opener, offset, data)

    async def sync(self, *, data_only: bool) -> None:
        """As `Content`."""
        await trio.to_thread.run_sync(_sync, self.fd, data_only, limiter=self.serving.fsync_limiter)

    def close(self) -> None:
        """As `Content`; the last writer's going makes the file due for sealing."""
        if self.writes and self.file.writers == 1 and self.file.backing and self._is_written_yet():
            self.serving.upkeep.background.start(self._close_once_unwritten)
        else:
            self._close()

    def _is_written_yet(self) -> bool:
        """Whether the last writer of a native file has closed it, and can write on: mappings of such a file are of the
        one beneath, and the kernel keeps no handle of ours open for them."""
        try:
            reading = held.reopen(self.fd, os.O_RDONLY)  # our own descriptor must be no writer's
        except OSError:
            return False
        self.file.replace_writer(self.fd, reading)
        self.fd = reading
        return writers_of(reading) is Writers.SOME

    async def _close_once_unwritten(self) -> None:
        """Until then the file stays native, for what is mapped is not in the kernel's cache of ours, and has a writer,
        so that it is not sealed, its times are those of the moment, and what it held before is kept."""
        wait_s = _MAPPED_S
        while writers_of(self.fd) is Writers.SOME:
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, _MAPPED_MOST_S)
        self._close()

    def _close(self) -> None:
        file, serving = self.file, self.serving
        if self.writes:
            if file.writers == 1:
                self._note_unseen_writes()
            file.remove_writer(self.fd)
            if not file.writers:
                if file.breaking is None:  # else it is being truncated by its name, which is not decided yet
                    serving.breaker.unchanged(file)
                if file.written:
                    file.written = False
                    serving.upkeep.last_writer_gone(file.node)
        else:
            file.remove_reader()
        serving.files.release(file)
        if not file.readers and not file.writers:
            serving.native.closed(file)
            file.node.cache.expect_no_more_unseen_writes()
            serving.upkeep.closed(file.node)
            serving.nodes.closed(file.node)

    def _note_unseen_writes(self) -> None:
        """The last writer of a file goes, whose writes may have passed the daemon: was anything written?"""
        before, self.file.before = self.file.before, None
        self.file.node.cache.expect_no_more_unseen_writes()
        if before is not None and stamp(before) != stamp(content.stat(self.fd)):
            self.serving.breaker.changed(self.file, self.opener.pid)


def _sync(fd: int, data_only: bool) -> None:
    content.sync(fd, data_only=data_only)
