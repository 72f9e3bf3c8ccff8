"""One sealing process as the daemon sees it: started when there is work, started again when it dies."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import trio
from trio.lowlevel import FdStream

from ipfsfs.errors import FormatError, SealerLost
from ipfsfs.plain.tree import Found, Unreadable
from ipfsfs.sealer import answers, wire
from ipfsfs.sealer.start import Manners, Started, start
from ipfsfs.sealer.wire import Header

log = logging.getLogger(__name__)

FOLLOWED_MAX: Final = 64
"""Files whose growth may wait to be told; of more, none is."""

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 60.0
"""A process that lived so long has no standing trouble: the pauses begin from the shortest again."""
_SILENT_S: Final = 300.0
"""A process that has work and says nothing for so long hangs (a disk that no longer answers)."""
_HANGS: Final = "hangs"
_REAP_S: Final = 2.0
_MEASURE_S: Final = 0.2
_IDLE_S: Final = 1.0
_READ: Final = 1 << 18


@dataclass(slots=True, eq=False)
class Waiting:
    """A job whose answer is awaited. `lost` says why there will be none."""

    number: int
    progress: Callable[[int], None] | None = None
    batches: deque[list[Found | Unreadable]] = field(default_factory=deque)
    changed: trio.Event = field(default_factory=trio.Event)
    answer: tuple[Header, bytes] | None = None
    lost: str = ""

    def wake(self) -> None:
        """Something came for the job."""
        self.changed.set()
        self.changed = trio.Event()


@dataclass(slots=True)
class _Growth:
    """What is still to be told of a file that is followed: in this order."""

    end: bool = False
    restart: bool = False
    prefix: int = 0
    path: bytes = b""


@dataclass(slots=True, eq=False)
class Process:
    """A sealing process, and what is to be sent to it and came from it. `run` is to be running all the time.

    `state` is empty while all is well. `pid`: the process that is there, if one is.
    """

    root_fd: int
    manners: Manners
    temporary: bytes
    state: str = ""
    pid: int | None = None
    _before: int = 0
    _total: int = 0
    _path: bytes = b""
    _rate: float = 0.0
    _reported: float = -math.inf
    _measured: int = 0
    _measured_at: float = -math.inf
    _heard: float = 0.0
    _next: int = 1
    _waiting: dict[int, Waiting] = field(default_factory=dict)
    _outbox: deque[bytes] = field(default_factory=deque)
    _growth: dict[int, _Growth] = field(default_factory=dict)
    _wake: trio.Event = field(default_factory=trio.Event)

    @property
    def total(self) -> int:
        """Bytes read since the first process was started."""
        return self._before + self._total

    @property
    def now(self) -> tuple[float, bytes]:
        """Bytes a second, and the file being read; 0 and nothing while idle."""
        if trio.current_time() - self._reported > _IDLE_S:
            return 0.0, b""
        return self._rate, self._path

    def begin(self, header: Header, blob: bytes = b"", progress: Callable[[int], None] | None = None) -> Waiting:
        """Hand over a job. Whoever does must `forget` it in the end."""
        waiting = Waiting(self._next, progress)
        self._next += 1
        self._waiting[waiting.number] = waiting
        self._tell_growth()
        self._post(wire.encode({"id": waiting.number, **header}, blob))
        return waiting

    async def answer(self, waiting: Waiting) -> tuple[Header, bytes]:
        """Wait for what came of a job. Raises SealerLost."""
        while waiting.answer is None:
            if waiting.lost:
                raise SealerLost(waiting.lost)
            await waiting.changed.wait()
        return waiting.answer

    def forget(self, waiting: Waiting) -> None:
        """Nobody waits for a job any more; one that is not done is dropped."""
        if self._waiting.pop(waiting.number, None) is not None and waiting.answer is None and not waiting.lost:
            self._post(wire.encode({"do": "cancel", "id": waiting.number}))

    def more(self, waiting: Waiting) -> None:
        """A batch of a walk was taken: it may go on."""
        if waiting.number in self._waiting:
            self._post(wire.encode({"do": "more", "id": waiting.number}))

    def hold(self, seconds: float) -> None:
        """Whatever is being done, rest for a moment."""
        if self.pid is not None and self._waiting:
            self._post(wire.encode({"do": "hold", "seconds": seconds}))

    def grow(self, ino: int, path: bytes, prefix: int) -> None:
        """A followed file grew. Told when the pipe has room for it, and then only the last that was to be told."""
        if ino in self._growth or len(self._growth) < FOLLOWED_MAX:
            growth = self._growth.setdefault(ino, _Growth())
            growth.path, growth.prefix = path, prefix
            self._wake.set()

    def restart(self, ino: int) -> None:
        """What was hashed of a followed file counts no longer. Never lost, and told before any later job."""
        growth = self._growth.setdefault(ino, _Growth())
        growth.restart, growth.prefix = True, 0
        self._wake.set()

    def end(self, ino: int) -> None:
        """A followed file is of no more interest."""
        self._growth[ino] = _Growth(end=True)
        self._wake.set()

    async def run(self) -> None:
        """Have a process whenever there is work, until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            while not self._outbox and not any(growth.prefix for growth in self._growth.values()):
                self._growth.clear()
                await self._wake.wait()
                self._wake = trio.Event()
            began = trio.current_time()
            how = await self._live()
            if trio.current_time() - began > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            self._lose(f"the sealer {how}")
            self.state = f"the sealer {how}; it is started again after {pause_s:g} s"
            log.warning("%s", self.state)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _post(self, frame: bytes) -> None:
        self._outbox.append(frame)
        self._wake.set()

    def _lose(self, why: str) -> None:
        """Fail all jobs: nothing of a process outlives it."""
        self._outbox.clear()
        self._growth.clear()
        self._before, self._total, self._measured = self._before + self._total, 0, 0
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            job.lost = why
            job.wake()

    async def _live(self) -> str:
        """Start a process and stay until it is gone; returns how it went."""
        try:
            started = start(self.root_fd, self.manners, self.temporary)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self.pid, self._heard = started.process.pid, trio.current_time()
        trouble = _HANGS
        try:
            async with _streams(started) as (requests, results, complaints), trio.open_nursery() as nursery:
                nursery.start_soon(self._send, requests)
                nursery.start_soon(_log_complaints, complaints)
                nursery.start_soon(self._watch, nursery.cancel_scope)
                trouble = await self._receive(results)
                nursery.cancel_scope.cancel()
        finally:
            self.pid = None
            how = await _reap(started.process, grace_s=0 if trouble else _REAP_S)
        return trouble or how

    async def _send(self, requests: FdStream) -> None:
        with suppress(trio.BrokenResourceError):  # it died: whoever receives learns of it too
            while True:
                if not self._outbox:
                    self._tell_growth()
                if self._outbox:
                    await requests.send_all(self._outbox.popleft())
                else:
                    await self._wake.wait()
                    self._wake = trio.Event()

    def _tell_growth(self) -> None:
        growing, self._growth = self._growth, {}
        for ino, growth in growing.items():
            self._outbox.append(
                wire.encode(
                    {
                        "do": "follow",
                        "ino": ino,
                        "end": growth.end,
                        "restart": growth.restart,
                        "prefix": growth.prefix,
                        "path": wire.text(growth.path),
                    }
                )
            )

    async def _receive(self, results: FdStream) -> str:
        """Take what comes until the pipe ends; returns why no more is taken, empty where it just ended."""
        decoder = wire.Decoder()
        while data := await results.receive_some(_READ):
            self._heard = trio.current_time()
            try:
                for header, blob in decoder.feed(data):
                    self.state = ""
                    self._take(header, blob)
            except (FormatError, LookupError, TypeError, ValueError) as error:
                return f"said what makes no sense ({error})"
        return ""

    def _take(self, header: Header, blob: bytes) -> None:
        if "total" in header:
            self._measure(header["total"])
        if "path" in header:
            self._path = wire.path(header["path"])
        job = self._waiting.get(header.get("id", 0))
        if job is None:
            return
        if "done" in header:
            if job.progress is not None:
                job.progress(header["done"])
            return
        if "found" in header:
            job.batches.append(answers.decode_batch(header["found"]))
        else:
            job.answer = header, blob
        job.wake()

    def _measure(self, total: int) -> None:
        self._total, self._reported = total, trio.current_time()
        elapsed_s = self._reported - self._measured_at
        if elapsed_s >= _MEASURE_S:
            self._rate = (total - self._measured) / elapsed_s if elapsed_s < _IDLE_S else 0.0
            self._measured, self._measured_at = total, self._reported

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End a process that hangs. A walk whose batches nobody takes waits for us."""
        while True:
            await trio.sleep(_SILENT_S / 10)
            if all(job.batches for job in self._waiting.values()):
                self._heard = trio.current_time()
            elif trio.current_time() - self._heard > _SILENT_S:
                scope.cancel()


@asynccontextmanager
async def _streams(started: Started) -> AsyncIterator[tuple[FdStream, FdStream, FdStream]]:
    async with (
        FdStream(started.requests) as requests,
        FdStream(started.results) as results,
        FdStream(started.complaints) as complaints,
    ):
        yield requests, results, complaints


async def _log_complaints(complaints: FdStream) -> None:
    while data := await complaints.receive_some(_READ):
        for line in data.decode("utf-8", "replace").splitlines():
            log.warning("from the sealer: %s", line)


async def _reap(process: subprocess.Popen[bytes], grace_s: float) -> str:
    """End a process if it does not end by itself within `grace_s`; returns how it went."""
    with trio.CancelScope(shield=True):
        for wait_s in (grace_s, _REAP_S):
            if process.poll() is None:
                pidfd = os.pidfd_open(process.pid)
                with trio.move_on_after(wait_s):
                    await trio.lowlevel.wait_readable(pidfd)
                os.close(pidfd)
            if process.poll() is not None:
                break
            process.kill()
    code = process.returncode
    if code is None:
        return "does not even die"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
