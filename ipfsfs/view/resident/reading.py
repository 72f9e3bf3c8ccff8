"""Reads of resident files: right bytes, or EIO and a log line that says why.

A READ of a sealed file is widened to whole units of 128 KiB, and every unit is compared with its checksum before a byte
of it is served (H19). The fast path never waits: it takes what is in the page cache. What is not there is read in a
thread, from a limiter that cold reads have to themselves (H6).
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field
from typing import Final

import trio
import trio.lowlevel

from ipfsfs.plain import content
from ipfsfs.plain.buffers import page_aligned
from ipfsfs.plain.into_memory import IntoMemory
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.store.seals import Seals
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.resident import units
from ipfsfs.view.streams import Span
from ipfsfs.view.upkeep.upkeep import Upkeep

log = logging.getLogger(__name__)

LARGEST_READ: Final = 1024 * 1024
"""The most the kernel asks for at once: `FUSE_MAX_MAX_PAGES` of 4 KiB. Where pages are larger it asks for more, which
`Reader.read` alone has room for."""
_THREADS: Final = 16
_THREADS_FOR_ONE: Final = 8
"""As many may wait for one file: a file whose disk does not answer must leave room for the others (H2)."""


@dataclass(slots=True)
class Reader:
    """Serves READs of all resident files."""

    seals: Seals
    upkeep: Upkeep
    boot: str
    _buffer: memoryview = field(default_factory=lambda: page_aligned(LARGEST_READ + 2 * UNIT))
    _into_memory: IntoMemory = field(default_factory=IntoMemory)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))
    _asking: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_THREADS))

    def read_nowait(self, file: OpenFile, fd: int, offset: int, size: int) -> memoryview | None:
        """What was asked for, if the page cache has it and it is what it should be; else None: `read` has to do it.

        What is returned is only valid until the next call: it lies in one buffer, which is reused.
        """
        if size > LARGEST_READ:
            return None
        seal, sums = file.seal, file.sums
        start, want = units.widened(offset, size, seal)
        buffer = self._buffer[:want]
        got = units.read_nowait(file, fd, buffer, start)
        if got is None or units.first_bad(buffer[:got], start, sums, seal) >= 0:
            return None
        ahead = file.streams.hit(offset, offset + size)
        if ahead is not None:
            self._read_ahead(fd, ahead)
        return buffer[offset - start : min(got, offset - start + size)]

    def _read_ahead(self, fd: int, ahead: Span) -> None:
        """Read what a sequential reader comes to next, while it is served what is here.

        A task would begin only when the loop has answered all pending requests, which is too late. Nobody waits for
        this, not even the end of the view; where it cannot be done, the next READ waits for the disk instead.
        """
        if not self._asking.acquire(blocking=False):
            return
        try:
            own = os.dup(fd)  # the reader may be gone by then
        except OSError:  # no descriptor is left
            self._asking.release()
            return

        def bring() -> None:
            try:
                self._into_memory.bring(own, *ahead)
            finally:
                os.close(own)
                self._asking.release()

        try:
            trio.lowlevel.start_thread_soon(bring, _pass_over, "read-ahead")
        except RuntimeError:  # no thread is left
            os.close(own)
            self._asking.release()

    async def read(self, file: OpenFile, fd: int, offset: int, size: int) -> memoryview:
        """What was asked for, from the disk. Raises OSError, and IntegrityError where the bytes are rotten."""
        seal, sums = file.seal, file.sums
        start = offset - offset % UNIT
        want = -(-(offset + size) // UNIT) * UNIT - start
        ahead = file.streams.missed(offset, offset + size)
        if ahead is not None:
            self._read_ahead(fd, ahead)
        if file.cold is None:
            file.cold = trio.CapacityLimiter(_THREADS_FOR_ONE)
        async with file.cold:
            data = memoryview(await trio.to_thread.run_sync(content.read_whole, fd, start, want, limiter=self._limiter))
        bad = units.first_bad(data, start, sums, seal)
        if bad >= 0 and seal is not None:
            self._judge(file, fd, seal, bad)
        return data[offset - start : offset - start + size]

    def _judge(self, file: OpenFile, fd: int, seal: Seal, unit: int) -> None:
        """Bytes differ from what was sealed: were they written, or did the disk forget? Raises IntegrityError."""
        if file.seal is None or file.seal.seal_id != seal.seal_id:
            return  # written while this was read
        seal = file.seal  # with the ctime of now
        agrees = seal.identity.agrees(content.stat(fd))
        if agrees and seal.vouches(self.boot):
            raise self.upkeep.found_rotten(file.node, seal, unit)
        if agrees:
            log.warning(
                "%s: changed or rotten since it was sealed, which of both cannot be told: served as it is",
                os.fsdecode(self.upkeep.nodes.path(file.node)),
            )
        file.attach(None)
        self.seals.lapse(seal.ino)
        self.upkeep.found_changed(file.node)


def _pass_over(_: object) -> None:
    """What came of asking ahead: whether or not the disk heard it, what it asked for is read when it is wanted."""
