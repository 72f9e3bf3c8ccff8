"""The thread that takes the kernel's requests itself: no request is lost with it, and no answer goes astray."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import pytest
import trio

from ipfsfs.fuse.leading import Leading
from ipfsfs.fuse.reading_threads import ReadingThreads
from ipfsfs.plain.into_memory import IntoMemory
from ipfsfs.view.counts import Counts
from ipfsfs.view.handles import Handles
from tests.support.processes import eventually

HANDLE: Final = 7
_HEADER: Final = struct.Struct("=IIQQIIII")
_READ: Final = struct.Struct("=QQIIQII")
_REPLY: Final = struct.Struct("=IiQ")
LOOKUP: Final = _HEADER.pack(_HEADER.size + 5, 1, 3, 1, 0, 0, 0, 0) + b"name\0"


def _read(unique: int, handle: int = HANDLE) -> bytes:
    return _HEADER.pack(_HEADER.size + _READ.size, 15, unique, 2, 0, 0, 0, 0) + _READ.pack(handle, 0, 4096, 0, 0, 0, 0)


def _reply(unique: int, data: bytes = b"", error: int = 0) -> bytes:
    return _REPLY.pack(_REPLY.size + len(data), -error, unique) + data


@dataclass(slots=True)
class Bytes:
    """A file's content, and READs of it, which find it in memory. `before`: what happens before one does,
    `closed`: when one is over."""

    before: Callable[[], None] = lambda: None
    closed: Callable[[], None] = lambda: None
    file: int = 1
    wants_more: bool = False
    brings: Callable[[], bool] | None = None
    """What having the disk bring it does; then the READ finds nothing before."""

    def job(self, offset: int, size: int) -> Bytes:
        return self

    def at_hand(self, buffer: memoryview) -> memoryview | None:
        self.before()
        return None if self.brings else memoryview(b"content")

    def bring(self, into_memory: IntoMemory) -> bool:
        assert self.brings is not None
        return self.brings()

    def waited_for(self, buffer: memoryview) -> memoryview:
        return memoryview(b"from the disk")

    def read_ahead(self, into_memory: IntoMemory) -> None:
        raise OverflowError

    def over(self) -> None:
        self.closed()


@dataclass(slots=True)
class Connection:
    """A session of which the test is the kernel."""

    kernel: socket.socket
    leading: Leading
    nursery: trio.Nursery

    async def replied(self) -> bytes:
        """The next reply."""
        return await trio.to_thread.run_sync(self.kernel.recv, 4096)


@asynccontextmanager
async def _session(content: Bytes) -> AsyncIterator[Connection]:
    kernel, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.settimeout(10)
    threads = ReadingThreads(Counts())
    leading = Leading(threads, cast(Handles, {HANDLE: content}))
    with kernel:
        async with trio.open_nursery() as nursery:
            await nursery.start(threads.run, device.detach())
            leading.begin()
            yield Connection(kernel, leading, nursery)
            nursery.cancel_scope.cancel()
            leading.end()
        await trio.to_thread.run_sync(eventually, lambda: not _threads(), "all threads have ended")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name in ("lead", "read")]


async def _led(leading: Leading) -> bytes | None:
    """What the thread meets; it gives up by itself where nothing comes."""
    with trio.fail_after(10):
        while (met := await leading.lead()) is None:
            assert leading.threads.are_running
        return met


def test_reads_are_answered_and_any_other_request_is_given_back() -> None:
    async def run() -> None:
        async with _session(Bytes()) as connection:
            for request in (_read(1), _read(2), LOOKUP):
                connection.kernel.send(request)
            assert await _led(connection.leading) == LOOKUP
            assert [await connection.replied() for _ in range(2)] == [_reply(n, b"content") for n in (1, 2)]

    trio.run(run)


def test_what_goes_wrong_costs_one_request() -> None:
    """Whatever fails in the thread, it goes on: the event loop waits for it, and all other requests with that."""

    def no_memory() -> None:
        raise MemoryError

    async def run() -> None:
        content = Bytes()
        async with _session(content) as connection:
            connection.kernel.send(_read(1, handle=HANDLE + 1))
            content.before = no_memory
            connection.kernel.send(_read(2))
            connection.kernel.send(LOOKUP)
            assert await _led(connection.leading) == LOOKUP
            replies = {await connection.replied() for _ in range(2)}
            assert replies == {_reply(1, error=errno.EIO), _reply(2, error=errno.EIO)}

            content.before, content.closed = lambda: None, no_memory
            connection.kernel.send(_read(4))
            connection.kernel.send(LOOKUP)
            assert await _led(connection.leading) == LOOKUP
            assert await connection.replied() == _reply(4, b"content")

    trio.run(run)


def test_a_disk_costs_no_thread_whatever_it_does() -> None:
    """What cannot be brought, or has gone again, is waited for; what fails is an error; and the next READ is answered,
    however often that happens."""

    def fails() -> bool:
        raise OverflowError

    async def run() -> None:
        content, closed = Bytes(wants_more=True), list[int]()
        content.closed = lambda: closed.append(1)
        async with _session(content) as connection:
            number = 0
            for _ in range(2 * connection.leading.threads._shifts.threads):
                for brings, reply in (
                    (lambda: True, b"from the disk"),
                    (lambda: False, b"from the disk"),
                    (fails, b""),
                    (None, b"content"),
                ):
                    number += 1
                    content.brings = brings
                    connection.kernel.send(_read(number))
                    connection.kernel.send(LOOKUP)
                    assert await _led(connection.leading) == LOOKUP
                    expected = _reply(number, reply) if reply else _reply(number, error=errno.EIO)
                    assert await connection.replied() == expected
            shifts = connection.leading.threads._shifts
            await trio.to_thread.run_sync(eventually, lambda: len(closed) == number, "every file was let go of")
            await trio.to_thread.run_sync(eventually, lambda: not shifts._waiting, "nobody waits any more")
            assert len([name for name in _threads() if name == "read"]) == shifts.threads

    trio.run(run)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_not_waited_for() -> None:
    def end() -> None:
        raise SystemExit

    async def run() -> None:
        content = Bytes(before=end)
        async with _session(content) as connection:
            connection.kernel.send(_read(1))
            with trio.fail_after(10):
                assert await connection.leading.lead() is None
            for _ in range(10):
                connection.leading.saw_read()
                assert not connection.leading.is_due()

    trio.run(run)


def test_a_thread_that_is_late_keeps_no_connection_and_writes_into_no_file(tmp_path: Path) -> None:
    """The session has ended meanwhile. Others wait for the end of the connection, not for this thread's disk."""
    begun, go = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go.wait(10)

    async def run() -> None:
        async with _session(Bytes(before=wait)) as connection:
            connection.nursery.start_soon(connection.leading.lead)
            connection.kernel.send(_read(1))
            assert await trio.to_thread.run_sync(begun.wait, 10)
            connection.leading.end()
            connection.nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(eventually, lambda: _threads() == ["lead"], "the others have ended")
                files = [os.open(tmp_path / str(number), os.O_CREAT | os.O_RDWR) for number in range(10)]
                assert await connection.replied() == b"", "the connection has ended"
                go.set()
                await trio.to_thread.run_sync(eventually, lambda: not _threads(), "all threads have ended")
            for fd in files:
                assert os.fstat(fd).st_size == 0
                os.close(fd)

    trio.run(run)


@contextmanager
def _threads_take_turns_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def test_of_all_that_leave_at_once_one_closes_the_connection() -> None:
    users = 6
    with _threads_take_turns_often():
        for _ in range(1000):
            threads = ReadingThreads(Counts())
            into = os.open(os.devnull, os.O_WRONLY)
            threads._device, threads._users = into, list(range(users))
            together = threading.Barrier(users)
            crew = [threading.Thread(target=_leave, args=(threads, together)) for _ in range(users)]
            for one in crew:
                one.start()
            for one in crew:
                one.join()
            assert not os.path.exists(f"/proc/self/fd/{into}")


def _leave(threads: ReadingThreads, together: threading.Barrier) -> None:
    together.wait()
    threads.leave()  # what it raises fails the test
