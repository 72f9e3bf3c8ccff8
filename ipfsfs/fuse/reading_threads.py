"""READs that threads answer, past pyfuse3: reading, checking and copying to the kernel is most of what reads cost, and
needs no lock of Python's.

pyfuse3 believes such a request answered (`Replies.withhold`). A thread that finds the bytes in memory answers at once;
one that does not waits for the disk, if few enough do, so that what is in memory never waits for a disk (H2, H6). What
is not right at the first look goes back to the event loop, where `Content.read` says what it is.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import trio

from ipfsfs.errors import MountError
from ipfsfs.fuse.answer import errno_of
from ipfsfs.fuse.shifts import Shifts
from ipfsfs.plain.buffers import page_aligned
from ipfsfs.plain.into_memory import IntoMemory
from ipfsfs.view.backing import Content, ReadJob
from ipfsfs.view.counts import Counts

log = logging.getLogger(__name__)

WORTH_A_THREAD: Final = 256 * 1024
"""A READ of less, if it is in memory, is answered sooner than a thread wakes: one of 128 KiB by the event loop is twice
as quick (measured on two processors of a virtual machine)."""
BUFFER: Final = (1 << 20) + 2 * (128 << 10)
"""The most that the kernel asks for at once, and what that is widened by (H19)."""
_HEADER: Final = struct.Struct("=IiQ")
_LEAVING_S: Final = 2.0
"""How long the end of a session waits for threads: one that waits for a disk ends when the disk answers."""


class Stage(Enum):
    """How far a READ is: it was asked for; the disk was waited for; it is answered, or the event loop's to answer, and
    only reading ahead is left."""

    ASKED = auto()
    BROUGHT = auto()
    ANSWERED = auto()


@dataclass(slots=True, eq=False)
class Handed:
    """A READ that was handed over. `unique`: what the kernel knows it by."""

    threads: ReadingThreads
    content: Content
    offset: int
    size: int
    job: ReadJob
    unique: int = 0
    stage: Stage = Stage.ASKED
    failed: Exception | None = None
    """What the job ended with."""

    def begin(self, unique: int) -> None:
        """As `Withheld`."""
        self.unique = unique
        self.threads.put(self)

    def drop(self) -> None:
        """As `Withheld`."""
        self.job.over()


@dataclass(slots=True)
class ReadingThreads:
    """The threads of a session. They and the one that leads have a descriptor of the connection for themselves, closed
    by the last that uses it: whenever one of them answers, the number is that connection's."""

    counts: Counts
    are_running: bool = False
    _device: int = -1
    _into_memory: IntoMemory = field(default_factory=IntoMemory)
    _shifts: Shifts[Handed] = field(default_factory=Shifts)
    _users: list[int] = field(default_factory=list)
    """A number for each user of the descriptor: the threads, and the event loop. Who takes the zero, the last, closes
    it: to take one and to see whether it was the last is one step, for two may leave at once."""
    _token: trio.lowlevel.TrioToken | None = None
    _nursery: trio.Nursery | None = None

    async def run(self, device: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Start the threads, and answer what they give back, until cancelled. `device` is theirs from now on. Raises
        MountError where there is no room for them."""
        self._device, self._token = device, trio.lowlevel.current_trio_token()
        try:
            buffers = [page_aligned(BUFFER) for _ in range(self._shifts.threads)]
            threads = [threading.Thread(target=self._work, args=(one,), name="read", daemon=True) for one in buffers]
            self._users = list(range(len(threads) + 1))
            for thread in threads:
                thread.start()
        except (OSError, RuntimeError) as error:
            raise MountError(f"the threads that read files cannot be started: {error}") from error
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
            self.leave()

    def join(self) -> int:
        """Another thread answers READs, or errors, as these do, until it calls `leave`. Returns the descriptor of the
        connection. To be called while these run."""
        self._users.append(len(self._users))
        return self._device

    def leave(self) -> None:
        """The calling thread answers nothing from now on."""
        if not self._users.pop():
            os.close(self._device)
            self._into_memory.close()

    def put(self, handed: Handed) -> None:
        """Have a thread answer a READ; after the end of the session it has no answer."""
        if not self._shifts.put(handed):
            handed.job.over()

    @property
    def at_work(self) -> int:
        """How many READs of what is in memory are answered at once."""
        return self._shifts.at_work

    def answer(self, handed: Handed, buffer: memoryview) -> None:
        """Answer a READ of what is in memory, in the calling thread. Whatever is left to do, the threads do."""
        if self._answered(handed, buffer, waits=False) and not handed.job.wants_more:
            handed.job.over()
            return
        self.put(handed)

    def refuse(self, unique: int, error: Exception) -> None:
        """Answer a READ with an error. One that is answered already stays so: the kernel takes no second reply."""
        self.counts.failed_read(waited=True)
        self._reply(unique, -errno_of(error, "read"), b"")

    def _end(self, threads: list[threading.Thread]) -> None:
        for handed in self._shifts.end():
            handed.job.over()
        # A thread that waits for a disk must not keep the connection, in which others wait: what it says goes nowhere.
        nowhere = os.open("/", os.O_PATH | os.O_CLOEXEC)
        os.dup2(nowhere, self._device, inheritable=False)
        os.close(nowhere)
        deadline = trio.current_time() + _LEAVING_S
        for thread in threads:
            thread.join(max(0.0, deadline - trio.current_time()))

    def _work(self, buffer: memoryview) -> None:
        bell = threading.Lock()
        bell.acquire()
        try:
            while (handed := self._shifts.next(bell)) is not None:
                try:
                    self._do(handed, buffer)
                except Exception as error:  # costs one request, as in a handler
                    self.refuse(handed.unique, error)
        finally:
            self.leave()

    def _do(self, handed: Handed, buffer: memoryview) -> None:
        job = handed.job
        is_answered = handed.stage is Stage.ANSWERED or self._answered(handed, buffer, waits=False)
        if is_answered and not job.wants_more:
            job.over()
            return
        if not self._shifts.wait(None if is_answered else handed, job.file):
            if is_answered:  # the next READ finds it
                job.over()
            return
        following: Handed | None = handed
        while following is not None:
            following = self._wait(following, buffer)

    def _wait(self, handed: Handed, buffer: memoryview) -> Handed | None:
        """Do what a READ needs the disk for. Returns the next that needs one."""
        job = handed.job
        if handed.stage is Stage.ASKED and self._brought(handed):
            handed.stage = Stage.BROUGHT
            return self._shifts.waited(job.file, handed)
        if handed.stage is not Stage.ANSWERED:  # it has gone again, or could not be brought
            self._answered(handed, buffer, waits=True)
        try:
            if job.wants_more:
                job.read_ahead(self._into_memory)
        except Exception:  # costs what would have been read ahead
            log.exception("a file could not be read ahead")
        job.over()
        return self._shifts.waited(job.file)

    def _brought(self, handed: Handed) -> bool:
        try:
            return handed.job.bring(self._into_memory)
        except Exception as error:  # costs one request, as in a handler
            self._give_back(handed, error)
            return False

    def _answered(self, handed: Handed, buffer: memoryview, *, waits: bool) -> bool:
        """Answer a READ, or give it back to the event loop. False where it would have to wait, and must not."""
        failed: Exception | None = None
        try:
            data = handed.job.waited_for(buffer) if waits else handed.job.at_hand(buffer)
        except Exception as error:  # costs one request, as in a handler
            failed = error
        else:
            if data is not None:
                self.counts.read(len(data), waited=waits or handed.stage is Stage.BROUGHT)
                handed.stage = Stage.ANSWERED
                self._reply(handed.unique, 0, data)
                return True
            if not waits:
                return False
        self._give_back(handed, failed)
        return True

    def _give_back(self, handed: Handed, failed: Exception | None) -> None:
        """Have the event loop answer a READ: it failed, or its bytes are not right."""
        handed.stage, handed.failed = Stage.ANSWERED, failed
        assert self._token is not None
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._judge_soon, handed)

    def _judge_soon(self, handed: Handed) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._judge, handed)

    async def _judge(self, handed: Handed) -> None:
        """Answer a READ that a thread could not."""
        try:
            if handed.failed is not None:
                raise handed.failed
            data = await handed.content.read(handed.offset, handed.size)
        except Exception as error:  # as in a handler
            self.refuse(handed.unique, error)
        else:
            self.counts.read(len(data), waited=True)
            self._reply(handed.unique, 0, data)

    def _reply(self, unique: int, error: int, data: memoryview | bytes) -> None:
        header = _HEADER.pack(_HEADER.size + len(data), error, unique)
        try:
            os.writev(self._device, (header, data))
        except OSError as failure:  # the kernel has ended the connection, or the request: nobody waits for this
            log.info("a reply to READ found nobody: %s", failure.strerror)
