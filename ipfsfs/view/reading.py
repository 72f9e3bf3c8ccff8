"""Reads of resident files: right bytes, or EIO and a log line that says why.

A READ of a sealed file is widened to whole units of 128 KiB, and every unit is compared with its checksum before a byte
of it is served (H19). The fast path never waits: it takes what is in the page cache. What is not there is read in a
thread, from a limiter that cold reads have to themselves (H6).
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio
import trio.lowlevel
import xxhash

from ipfsfs.errors import IntegrityError
from ipfsfs.plain import syscalls
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.view.handles import Handle, OpenFile
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.seals import Seals

log = logging.getLogger(__name__)

_LARGEST_READ: Final = 1024 * 1024
"""The most the kernel asks for at once: `FUSE_MAX_MAX_PAGES` of 4 KiB."""
_AHEAD: Final = 8 * 1024 * 1024
"""How far the disk is told beforehand what a sequential reader will want: what 3 GB/s take in 3 ms."""
_THREADS: Final = 16
_THREADS_FOR_ONE: Final = 8
"""As many may wait for one file: a file whose disk does not answer must leave room for the others (H2)."""


@dataclass(slots=True)
class Reader:
    """Serves READs. `on_changed` is told of a file that somebody changed beneath, `on_rot` of a unit that rotted."""

    nodes: NodeTable
    seals: Seals
    boot: str
    on_changed: Callable[[OpenFile], None]
    on_rot: Callable[[OpenFile, Seal, int], None]
    _buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(_LARGEST_READ + 2 * UNIT)))
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(_THREADS))
    _asking: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(_THREADS))

    def now(self, handle: Handle, offset: int, size: int) -> memoryview | None:
        """What was asked for, if the page cache has it and it is what it should be; else None: `later` has to do it.

        What is returned is only valid until the next call: it lies in one buffer, which is reused.
        """
        file = handle.file
        sums = file.sums
        if sums is None:
            start, want = offset, size
        else:
            assert file.seal is not None
            start = offset - offset % UNIT
            end = -(-(offset + size) // UNIT) * UNIT
            want = min(end, max(file.seal.size, offset + size)) - start
        if not file.how and not _in_memory(handle.fd, start, want):
            return None
        buffer = self._buffer[:want]
        try:
            got = os.preadv(handle.fd, [buffer], start, file.how)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP or not file.how:
                raise
            file.how = 0
            return self.now(handle, offset, size)
        if got < want and start + got != os.fstat(handle.fd).st_size:
            return None
        if sums is not None and self._first_bad(buffer[:got], start, sums, file.seal) >= 0:
            return None
        file.next = offset + size
        if file.asked and file.asked - _AHEAD // 2 < file.next <= file.asked:
            self._ask_ahead(file, handle.fd)
        return buffer[offset - start : min(got, offset - start + size)]

    def _ask_ahead(self, file: OpenFile, fd: int) -> None:
        """Have the disk read what a sequential reader comes to next, while it is served what is here.

        A task would begin only when the loop has answered all that is there to answer, which is too late; and nobody
        waits for this, at the end of the view neither.
        """
        asked, file.asked = file.asked, file.asked + _AHEAD
        if not self._asking.acquire(blocking=False):
            return
        own = os.dup(fd)  # the reader may be gone by then

        def ask() -> None:
            try:
                os.posix_fadvise(own, asked, _AHEAD, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(own)
                self._asking.release()

        trio.lowlevel.start_thread_soon(ask, _pass_over, "ask-ahead")

    async def later(self, handle: Handle, offset: int, size: int) -> memoryview:
        """What was asked for, from the disk. Raises OSError, and IntegrityError where the bytes are rotten."""
        file, seal, sums = handle.file, handle.file.seal, handle.file.sums
        start = offset - offset % UNIT
        want = -(-(offset + size) // UNIT) * UNIT - start
        ahead = 0
        if abs(offset - file.next) < _AHEAD and not file.asked - _AHEAD <= offset < file.asked:
            ahead = _AHEAD
            file.asked = start + want + ahead
        file.next = offset + size
        if file.cold is None:
            file.cold = trio.CapacityLimiter(_THREADS_FOR_ONE)
        async with file.cold:
            data = memoryview(
                await trio.to_thread.run_sync(_read_whole, handle.fd, start, want, ahead, limiter=self._limiter)
            )
        if sums is not None and seal is not None:
            bad = self._first_bad(data, start, sums, seal)
            if bad >= 0:
                self._judge(handle, seal, bad)
        return data[offset - start : offset - start + size]

    @staticmethod
    def _first_bad(data: memoryview, start: int, sums: memoryview, seal: Seal | None) -> int:
        """The number of the first unit in `data` that is not as it was sealed, or -1.

        Bytes behind the sealed size were appended since and are nobody's promise.
        """
        assert seal is not None
        unit = start // UNIT
        sealed = min(len(data), seal.size - start)
        digest = xxhash.xxh3_64_intdigest
        for at in range(0, sealed, UNIT):
            if digest(data[at : min(at + UNIT, sealed)]) != sums[unit]:
                return unit
            unit += 1
        return -1

    def _judge(self, handle: Handle, seal: Seal, unit: int) -> None:
        """Bytes differ from what was sealed: has somebody written, or did the disk forget? Raises IntegrityError."""
        file = handle.file
        if file.seal is None or file.seal.seal_id != seal.seal_id:
            return  # somebody has written while this was read
        seal = file.seal  # with the ctime of now
        if not seal.agrees(os.fstat(handle.fd)):
            file.seal = file.sums = None
            self.seals.drop(seal.ino)
            self.on_changed(file)
            return
        path = os.fsdecode(self.nodes.path(file.node))
        if not seal.vouches(self.boot):
            log.warning("%s: changed or rotten since it was sealed, nobody can tell which: served as it is", path)
            file.seal = file.sums = None
            self.seals.drop(seal.ino)
            self.on_changed(file)
            return
        self.on_rot(file, seal, unit)
        raise IntegrityError(
            f"{path}: bytes {unit * UNIT} to {min((unit + 1) * UNIT, seal.size)} are not what was written there",
            hint=f"The disk returned other bytes than were sealed. Remove the file and download it again: rm {path!r}",
        )


def attach(file: OpenFile, seal: Seal | None) -> None:
    """Have reads of a file checked against a seal, or no longer."""
    file.seal = seal
    file.sums = memoryview(seal.sums).cast("Q") if seal is not None else None


def _in_memory(fd: int, offset: int, length: int) -> bool:
    """Whether a span can be read without waiting, for filesystems that cannot be asked to read without waiting.

    On tmpfs everything is in memory; a network's filesystem may let a read of what is not wait for ever.
    """
    first = offset - offset % mmap.PAGESIZE
    length = min(offset + length, os.fstat(fd).st_size) - first
    try:
        return length <= 0 or 0 not in syscalls.resident_pages(fd, first, length)
    except OSError:
        return False


def _pass_over(_: object) -> None:
    """What came of asking ahead: whether or not the disk heard it, what it asked for is read when it is wanted."""


def _read_whole(fd: int, start: int, want: int, ahead: int) -> bytes:
    """`want` bytes from `start`, fewer only at the end of the file; the disk is told to read `ahead` more."""
    if ahead:
        os.posix_fadvise(fd, start + want, ahead, os.POSIX_FADV_WILLNEED)
    data = os.pread(fd, want, start)
    if len(data) == want or not data:
        return data
    parts = [data]
    got = len(data)
    while got < want and (data := os.pread(fd, want - got, start + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)
