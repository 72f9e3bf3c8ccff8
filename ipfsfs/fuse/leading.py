"""A thread that takes the kernel's requests itself while READs come one after the other.

To hand a READ from the event loop to a thread costs the waking of that thread, as much as 128 KiB take otherwise. So
when READs come in a row, a thread is given the connection. It reads the next request; if that is a READ, the thread
answers it, or has another do so, and reads the next. Any other request it gives to the event loop, and the connection
with it. Layouts are those of `linux/fuse.h`.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import MountError
from ipfsfs.fuse.reading_threads import BUFFER, Handed, ReadingThreads
from ipfsfs.plain.buffers import page_aligned
from ipfsfs.store.seal import UNIT
from ipfsfs.view.handles import Handles

LARGE: Final = 64 * 1024
"""READs of less are of small files, or here and there: other requests will follow."""
_IN_A_ROW: Final = 3
"""After so many READs the next request is likely to be one, too."""
_PATIENCE_MS: Final = 50
"""How long the thread waits for a request before it gives the connection back."""
_MANY: Final = 4
"""Processors, from which on READs that come together are spread over threads whatever their size."""
_READ: Final = 15
_REQUEST: Final = struct.Struct("=4xIQ24xQQI")
"""What kind of a request it is, its number; of a READ the handle, the offset and the size."""
_UNIQUE: Final = struct.Struct("=8xQ")
_LARGEST_REQUEST: Final = (1 << 20) + 4096


@dataclass(slots=True)
class Leading:
    """The thread, and when it leads."""

    threads: ReadingThreads
    handles: Handles
    _in_a_row: int = 0
    _was_read: bool = False
    _bell: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _task: trio.lowlevel.Task | None = None
    """Waits until the thread gives the connection back."""
    _token: trio.lowlevel.TrioToken | None = None
    _met: bytes | None = None
    _is_over: bool = False

    def begin(self) -> None:
        """Start the thread, once the others run. Raises MountError where there is no room for it."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            threading.Thread(target=self._run, args=(self.threads.join(),), name="lead", daemon=True).start()
        except RuntimeError as error:
            raise MountError(f"the thread that reads requests cannot be started: {error}") from error

    def end(self) -> None:
        """Have the thread end."""
        self._is_over = True
        self._bell.release()

    def saw_read(self) -> None:
        """The event loop was given a large READ."""
        self._was_read = True

    def is_due(self) -> bool:
        """Whether the thread should lead; to be asked once before each request."""
        self._in_a_row = self._in_a_row + 1 if self._was_read else 0
        self._was_read = False
        return self._in_a_row >= _IN_A_ROW and self.threads.are_running and not self._is_over

    async def lead(self) -> bytes | None:
        """Have the thread lead until it meets a request that it cannot answer, which this returns; None where none came
        for a while, or the connection has ended."""
        self._in_a_row = 0
        self._task = trio.lowlevel.current_task()
        self._bell.release()
        await trio.lowlevel.wait_task_rescheduled(self._abandon)
        met, self._met = self._met, None
        return met

    def _abandon(self, _: object) -> trio.lowlevel.Abort:
        """The session ends: whatever the thread meets now has nobody to answer it."""
        self._task = None
        self._is_over = True
        return trio.lowlevel.Abort.SUCCEEDED

    def _give_back(self, met: bytes | None) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._met = met
            trio.lowlevel.reschedule(task)

    def _run(self, device: int) -> None:
        assert self._token is not None
        try:
            requests, buffer = memoryview(bytearray(_LARGEST_REQUEST)), page_aligned(BUFFER)
            poll = select.poll()
            poll.register(device, select.POLLIN)
            while True:
                self._bell.acquire()
                if self._is_over:
                    return
                met = self._lead(device, poll, requests, buffer)
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._give_back, met)
        finally:  # whatever ends it, the event loop must not wait for it
            self._is_over = True
            self.threads.leave()
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._give_back, None)

    def _lead(self, device: int, poll: select.poll, requests: memoryview, buffer: memoryview) -> bytes | None:
        spread = self.threads.at_work >= _MANY
        while not self._is_over and poll.poll(_PATIENCE_MS):
            try:
                length = os.readv(device, [requests])
            except OSError:  # the connection has ended, or the request, at that moment
                return None
            request = requests[:length]
            try:
                handed = self._handed(request)
                if handed is None:
                    return bytes(request)
                if handed.size > UNIT or (spread and poll.poll(0)):
                    self.threads.put(handed)
                else:
                    self.threads.answer(handed, buffer)
            except Exception as error:  # costs one request, as in a handler
                (unique,) = _UNIQUE.unpack_from(request)
                self.threads.refuse(unique, error)
        return None

    def _handed(self, request: memoryview) -> Handed | None:
        """A READ that threads can answer; None where a request is none."""
        if len(request) < _REQUEST.size:
            return None
        kind, unique, number, offset, size = _REQUEST.unpack_from(request)
        if kind != _READ:
            return None
        content = self.handles[number]
        job = content.job(offset, size)
        return None if job is None else Handed(self.threads, content, offset, size, job, unique)
