"""A worker process as the daemon sees it: started when there is work, started again when it dies.

What is said to it and what it answers is the matter of its `Talk`; here is what all worker processes share.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from trio.lowlevel import FdStream

from ipfsfs.errors import FormatError
from ipfsfs.workers import wire
from ipfsfs.workers.start import Command, StartedProcess, start
from ipfsfs.workers.wire import Header

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 60.0
"""A process that lived so long has no standing trouble: the pauses begin from the shortest again."""
_LOOKS: Final = 10
"""How often a process is looked at before it counts as one that hangs."""
_HANGS: Final = "hangs"
_UNDYING: Final = "does not even die"
_REAP_S: Final = 2.0
_READ: Final = 1 << 18


class Talk(Protocol):
    """What one kind of worker process is told, and what it says."""

    async def wait_for_work(self) -> None:
        """Return when there is something to start a process for."""

    async def next_frame(self) -> bytes:
        """The next frame for the process, as soon as there is one."""

    def take(self, header: Header, blob: bytes) -> None:
        """A frame came. Raises LookupError, TypeError or ValueError where it makes no sense."""

    @property
    def silent_s(self) -> float:
        """A process that has work and says nothing for so long hangs."""

    @property
    def waits_for_us(self) -> bool:
        """Whether the process has nothing to do before we take more of what it has sent, or give it work."""

    def ask_for_a_sign(self) -> None:
        """The process has work and has said nothing of late: have it say something, if it can be asked."""

    def lose(self, why: str) -> None:
        """The process is gone, and all that it knew and did with it."""


@dataclass(slots=True, eq=False)
class Process:
    """A worker process. `run` is to be running all the time.

    `state` is empty while all is well. `pid`: of the process that is running, if one is.
    """

    command: Command
    talk: Talk
    state: str = ""
    pid: int | None = None
    _looks: int = 0
    """How often it was looked at since it said something."""
    _is_ended: bool = False
    """Whether the process that runs was told to end."""
    _undying: subprocess.Popen[bytes] | None = None
    """One that was killed and is still there."""

    def end(self) -> None:
        """End the process that is running, if one is, with all that it does; it is started again for new work."""
        if self.pid is not None:
            self._is_ended = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def run(self) -> None:
        """Have a process whenever there is work, until cancelled."""
        pause_s = _FIRST_PAUSE_S
        name = f"the {self.command.name}"
        while True:
            await self.talk.wait_for_work()
            began = trio.current_time()
            how = await self._live()
            await self._no_other(name)
            if trio.current_time() - began > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            self.talk.lose(f"{name} {how}")
            if self._is_ended:
                self._is_ended = False
                continue
            self.state = f"{name} {how}; it is started again after {pause_s:g} s"
            log.warning("%s", self.state)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _no_other(self, name: str) -> None:
        """Return when the process is gone, however long that takes: two would write to the same files."""
        undying, self._undying = self._undying, None
        if undying is None:
            return
        self.talk.lose(f"{name} {_UNDYING}")
        self.state = f"{name} {_UNDYING}: it waits for a disk"
        log.error("%s", self.state)
        while undying.poll() is None:
            pidfd = os.pidfd_open(undying.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)

    async def _live(self) -> str:
        """Start a process and stay until it is gone; returns how it went."""
        try:
            started = start(self.command)
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        self.pid, self._looks = started.process.pid, 0
        trouble = _HANGS
        try:
            async with _streams(started) as (requests, results, complaints), trio.open_nursery() as nursery:
                nursery.start_soon(self._send, requests)
                nursery.start_soon(self._log_complaints, complaints)
                nursery.start_soon(self._watch, nursery.cancel_scope)
                trouble = await self._receive(results)
                nursery.cancel_scope.cancel()
        finally:
            self.pid = None
            how = await _reap(started.process, grace_s=0 if trouble else _REAP_S)
            if how == _UNDYING:
                self._undying = started.process
        return trouble or how

    async def _send(self, requests: FdStream) -> None:
        with suppress(trio.BrokenResourceError):  # it died: whoever receives learns of it too
            while True:
                await requests.send_all(await self.talk.next_frame())

    async def _receive(self, results: FdStream) -> str:
        """Take what comes until the pipe ends; returns why no more is taken, empty where it just ended."""
        decoder = wire.Decoder()
        while data := await results.receive_some(_READ):
            self._looks = 0
            try:
                for header, blob in decoder.feed(data):
                    self.state = ""
                    self.talk.take(header, blob)
            except (FormatError, LookupError, TypeError, ValueError) as error:
                return f"said what makes no sense ({error})"
        return ""

    async def _log_complaints(self, complaints: FdStream) -> None:
        while data := await complaints.receive_some(_READ):
            for line in data.decode("utf-8", "replace").splitlines():
                log.warning("from the %s: %s", self.command.name, line)

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End a process that hangs. Looks are counted and not seconds: where this process was stopped as well, or
        could not run, no time has passed for that one either."""
        while True:
            await trio.sleep(self.talk.silent_s / _LOOKS)
            if self.talk.waits_for_us:
                self._looks = 0
                continue
            self._looks += 1
            self.talk.ask_for_a_sign()
            if self._looks > _LOOKS:
                scope.cancel()


@asynccontextmanager
async def _streams(started: StartedProcess) -> AsyncIterator[tuple[FdStream, FdStream, FdStream]]:
    async with (
        FdStream(started.requests) as requests,
        FdStream(started.results) as results,
        FdStream(started.complaints) as complaints,
    ):
        yield requests, results, complaints


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
        return _UNDYING
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
