"""READs that threads answer, past pyfuse3: to read, to check and to copy to the kernel takes most of the time that reads
take, and none of it needs Python's lock.

pyfuse3 believes such a request answered (`Replies.withhold`). A thread that finds the bytes in memory answers at once.
One that does not waits for the disk, if not too many do: what is in memory waits for no disk (H2, H6). What is not right
at the first look goes back to the event loop, where `Content.read` says what it is.
"""

from __future__ import annotations

import logging
import os
import queue
import struct
import threading
from collections import Counter, deque
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.fuse.answer import errno_of
from ipfsfs.view.backing import Content, ReadJob
from ipfsfs.view.counts import Counts

log = logging.getLogger(__name__)

WORTH_A_THREAD: Final = 64 * 1024
"""A READ of less is answered sooner than a thread has woken."""
ACTIVE = int(os.environ.get('ACTIVE','2'))
_WAITING: Final = 16
"""Threads that may wait for disks."""
_WAITING_FOR_ONE: Final = 8
"""As many may wait for one file: a file whose disk does not answer must leave room for the others (H2)."""
_AT_HAND: Final = 4
"""Threads beyond those, which never wait."""
_BUFFER: Final = (1 << 20) + 2 * (128 << 10)
"""The most the kernel asks for at once, and what it is widened by."""
_HEADER: Final = struct.Struct("=IiQ")
_LEAVING_S: Final = 2.0
"""How long the end of the session waits for threads. One that waits for a disk ends when that answers."""


@dataclass(slots=True, eq=False)
class Handed:
    """A READ that was handed over."""

    threads: ReadThreads
    content: Content
    offset: int
    size: int
    job: ReadJob
    unique: int = 0
    failed: Exception | None = None
    """What the job ended with, to be answered by the event loop."""

    def begin(self, unique: int) -> None:
        """As `Withheld`."""
        self.unique = unique
        self.threads.put(self)

    def drop(self) -> None:
        """As `Withheld`."""
        self.job.over()


@dataclass(slots=True)
class _Waiting:
    """Which jobs wait for disks, and which cannot yet."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _now: Counter[Hashable] = field(default_factory=Counter)
    _later: dict[Hashable, deque[Handed]] = field(default_factory=dict)

    def enter(self, handed: Handed) -> bool:
        """Whether a job may wait now; if not, it is returned by a `next` to come."""
        file = handed.job.file
        with self._lock:
            if self._may(file):
                self._now[file] += 1
                return True
            self._later.setdefault(file, deque()).append(handed)
            return False

    def try_to_enter(self, file: Hashable) -> bool:
        """Whether something else may wait for a file's disk now."""
        with self._lock:
            if not self._may(file):
                return False
            self._now[file] += 1
            return True

    def next(self, file: Hashable) -> Handed | None:
        """One that waited for a file does so no longer. Returns a job that is to wait instead."""
        with self._lock:
            self._now[file] -= 1
            if not self._now[file]:
                del self._now[file]
            for other, jobs in self._later.items():
                if self._may(other):
                    handed = jobs.popleft()
                    del self._later[other]
                    if jobs:
                        self._later[other] = jobs  # at the end: the files take turns
                    self._now[other] += 1
                    return handed
            return None

    def clear(self) -> list[Handed]:
        """Take away all that cannot wait yet."""
        with self._lock:
            later = [handed for jobs in self._later.values() for handed in jobs]
            self._later.clear()
            return later

    def _may(self, file: Hashable) -> bool:
        return self._now.total() < _WAITING and self._now[file] < _WAITING_FOR_ONE


@dataclass(slots=True)
class ReadThreads:
    """The threads. They have a descriptor of the connection for themselves, which the last that ends closes: whenever
    one answers, it is that connection's."""

    counts: Counts
    are_running: bool = False
    _device: int = -1
    _jobs: deque[Handed] = field(default_factory=deque)
    _idle: list[threading.Lock] = field(default_factory=list)
    _active: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: _Waiting = field(default_factory=_Waiting)
    _buffers: list[memoryview] = field(default_factory=list)
    """Of all threads; the one that was used last is used next, for it is in the processor's cache."""
    _holders: list[None] = field(default_factory=list)
    """An item for each that uses the descriptor: the threads and the event loop."""
    _token: trio.lowlevel.TrioToken | None = None
    _nursery: trio.Nursery | None = None

    async def run(self, device: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Start the threads, and answer what they give back, until cancelled. `device` is theirs from now on."""
        self._device, self._token = device, trio.lowlevel.current_trio_token()
        count = _WAITING + _AT_HAND
        self._active = count
        self.are_running = True
        self._holders = [None] * (count + 1)
        threads = [threading.Thread(target=self._work, name="read", daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery, self.are_running = nursery, True
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._nursery, self.are_running = None, False
                    self._end(threads)
        finally:
            self._leave()

    def put(self, handed: Handed) -> None:
        """Have a thread answer a READ."""
        if not self.are_running:
            handed.job.over()
            return
        with self._lock:
            self._jobs.append(handed)
            idle = self._idle.pop() if self._idle and self._active < ACTIVE else None
            self._active += idle is not None
        if idle is not None:
            idle.release()

    def _end(self, threads: list[threading.Thread]) -> None:
        while self._idle: self._idle.pop().release()
        for handed in self._waiting.clear():
            handed.job.over()
        deadline = trio.current_time() + _LEAVING_S
        for thread in threads:
            thread.join(max(0.0, deadline - trio.current_time()))

    def _leave(self) -> None:
        self._holders.pop()
        if not self._holders:
            os.close(self._device)

    def _work(self) -> None:
        bell = threading.Lock()
        bell.acquire()
        buffer = memoryview(bytearray(_BUFFER))
        try:
            while True:
                with self._lock:
                    handed = self._jobs.popleft() if self._jobs and self._active <= ACTIVE else None
                    if handed is None:
                        if not self.are_running:
                            return
                        self._active -= 1
                        self._idle.append(bell)
                if handed is None:
                    bell.acquire()
                    continue
                self._do(handed, buffer)
        finally:
            self._leave()

    def _entering(self):
        with self._lock:
            self._active -= 1
            idle = self._idle.pop() if self._idle and self._jobs else None
            self._active += idle is not None
        if idle is not None:
            idle.release()
    def _entered(self):
        with self._lock:
            self._active += 1

    def _do(self, handed: Handed, buffer: memoryview) -> None:
        file = handed.job.file
        if self._answer(handed, buffer, waits=False):
            more = handed.job.wants_more and self._waiting.try_to_enter(file)
            if more:
                self._entering()
                with suppress(OSError):  # then the next READ waits for the disk instead
                    handed.job.ask_ahead()
            handed.job.over()
            if not more:
                return
        elif self._waiting.enter(handed):
            self._entering()
            self._answer(handed, buffer, waits=True)
            handed.job.over()
        else:
            return
        while (following := self._waiting.next(file)) is not None:
            file = following.job.file
            self._answer(following, buffer, waits=True)
            following.job.over()
        self._entered()

    def _answer(self, handed: Handed, buffer: memoryview, *, waits: bool) -> bool:
        """Answer a READ, or give it back to the event loop. False where it has to wait, and must not."""
        try:
            data = handed.job.waited_for(buffer) if waits else handed.job.at_hand(buffer)
        except Exception as error:  # as in a handler: it costs one request
            handed.failed = error
        else:
            if data is not None:
                self.counts.read(len(data), waited=waits)
                self._reply(handed.unique, 0, data)
                return True
            if not waits:
                return False
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._judge_soon, handed)
        return True

    def _judge_soon(self, handed: Handed) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._judge, handed)

    async def _judge(self, handed: Handed) -> None:
        """Answer a READ that a thread could not."""
        try:
            if handed.failed is not None:
                raise handed.failed
            data = await handed.content.read(handed.offset, handed.size)
        except Exception as error:
            self.counts.failed_read(waited=True)
            self._reply(handed.unique, -errno_of(error, "read"), b"")
        else:
            self.counts.read(len(data), waited=True)
            self._reply(handed.unique, 0, data)

    def _reply(self, unique: int, error: int, data: memoryview | bytes) -> None:
        header = _HEADER.pack(_HEADER.size + len(data), error, unique)
        try:
            os.writev(self._device, (header, data))
        except OSError as error_:
            log.info("a reply to READ found nobody: %s", error_.strerror)
