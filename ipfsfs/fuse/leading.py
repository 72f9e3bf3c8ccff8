"""A thread that takes the kernel's requests itself while READs come one after the other.

A READ that is handed from the event loop to a thread costs two threads' waking, which is as much as a READ of 128 KiB
takes otherwise. So when several have come in a row, a thread is given the connection: it reads the next request, and if
that is a READ of what is in memory, it answers that and reads the next. Any other request it gives to the event loop,
with the connection (`Replies.inject`). Layouts are those of `linux/fuse.h`.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import outcome
import trio

from ipfsfs.fuse.reading_threads import Handed, ReadingThreads
from ipfsfs.view.backing import Content

_READ: Final = 15
_REQUEST: Final = struct.Struct("=IIQ24xQQI")
"""Of a READ: its length, what it is, its number; the handle, the offset, the size."""
_LARGEST_REQUEST: Final = (1 << 20) + 4096
_IN_A_ROW: Final = 6
"""So many READs in a row, and the next requests are likely to be READs, too."""
_PATIENCE_MS: Final = 50
"""How long the thread waits for the next request before it gives the connection back."""


@dataclass(slots=True)
class Leading:
    """The thread, and whether it should lead."""

    threads: ReadingThreads
    content: Callable[[int], Content]
    """The content of a handle."""
    _in_a_row: int = 0
    _was_read: bool = False
    _bell: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _task: trio.lowlevel.Task | None = None
    _token: trio.lowlevel.TrioToken | None = None
    _over: bool = False

    def begin(self, device: int) -> None:
        """Start the thread. `device` is its own from now on."""
        self._token = trio.lowlevel.current_trio_token()
        threading.Thread(target=self._run, args=(device,), name="lead", daemon=True).start()

    def end(self) -> None:
        """Have the thread end."""
        self._over = True
        self._bell.release()

    def saw_read(self) -> None:
        """The event loop was given a READ."""
        self._was_read = True

    def is_due(self) -> bool:
        """Whether to lead now, before the event loop takes a request."""
        self._in_a_row = self._in_a_row + 1 if self._was_read else 0
        self._was_read = False
        return self._in_a_row >= _IN_A_ROW and self.threads.are_running and not self._over

    async def lead(self) -> bytes | None:
        """Let the thread lead. Returns the request that it met and cannot answer; None where none came."""
        self._in_a_row = 0
        self._task = trio.lowlevel.current_task()
        self._bell.release()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task, self._over = None, True
            return trio.lowlevel.Abort.SUCCEEDED

        found: bytes | None = await trio.lowlevel.wait_task_rescheduled(abort)
        return found

    def _give(self, request: bytes | None) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task, outcome.Value(request))

    def _run(self, device: int) -> None:
        requests, buffer = memoryview(bytearray(_LARGEST_REQUEST)), memoryview(bytearray((1 << 20) + (256 << 10)))
        poll = select.poll()
        poll.register(device, select.POLLIN)
        assert self._token is not None
        try:
            while True:
                self._bell.acquire()
                if self._over:
                    return
                request = self._lead(device, poll, requests, buffer)
                with suppress(trio.RunFinishedError):
                    self._token.run_sync_soon(self._give, request)
        finally:
            os.close(device)

    def _lead(self, device: int, poll: select.poll, requests: memoryview, buffer: memoryview) -> bytes | None:
        while not self._over and poll.poll(_PATIENCE_MS):
            try:
                length = os.readv(device, [requests])
            except OSError:
                return None
            if int.from_bytes(requests[4:8], "little") != _READ:
                return bytes(requests[:length])
            _, _, unique, handle, offset, size = _REQUEST.unpack_from(requests)
            content = self.content(handle)
            job = content.job(offset, size)
            if job is None:
                return bytes(requests[:length])
            handed = Handed(self.threads, content, offset, size, job, unique)
            if size > 128 << 10:
                self.threads.put(handed)
            else:
                self.threads.at_once(handed, buffer)
        return None
