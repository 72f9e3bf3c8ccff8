"""Jobs handed to a worker process: frames on their way to it, and answers that are awaited."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.workers import wire
from ipfsfs.workers.wire import Header


@dataclass(slots=True, eq=False)
class Waiting:
    """A job whose answer is awaited. `parts`: what came of it before the answer. `lost` says why none will come."""

    number: int
    progress: Callable[[int], None] | None = None
    parts: deque[Any] = field(default_factory=deque)
    changed: trio.Event = field(default_factory=trio.Event)
    answer: tuple[Header, bytes] | None = None
    lost: str = ""

    def wake(self) -> None:
        """Something came for the job."""
        self.changed.set()
        self.changed = trio.Event()


@dataclass(slots=True, eq=False)
class Awaited:
    """What is to be sent to a process, and the jobs whose answers are awaited. `lost_error`: what is raised for a job
    that died with the process."""

    lost_error: type[IpfsfsError]
    outbox: deque[bytes] = field(default_factory=deque)
    wake: trio.Event = field(default_factory=trio.Event)
    """Set when there is something new to send."""
    _next: int = 1
    _waiting: dict[int, Waiting] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._waiting)

    @property
    def wait_for_us(self) -> bool:
        """Whether the process can only wait, until what it has sent of each job is taken."""
        return all(job.parts for job in self._waiting.values())

    def begin(self, header: Header, blob: bytes = b"", progress: Callable[[int], None] | None = None) -> Waiting:
        """Hand over a job. Whoever does must `forget` it in the end."""
        waiting = Waiting(self._next, progress)
        self._next += 1
        self._waiting[waiting.number] = waiting
        self.post(wire.encode({"id": waiting.number, **header}, blob))
        return waiting

    async def answer(self, waiting: Waiting) -> tuple[Header, bytes]:
        """Wait for what came of a job. Raises `lost_error`."""
        while waiting.answer is None:
            if waiting.lost:
                raise self.lost_error(waiting.lost)
            await waiting.changed.wait()
        return waiting.answer

    def more(self, waiting: Waiting) -> None:
        """A part was taken: the process may send another."""
        if waiting.number in self._waiting:
            self.post(wire.encode({"do": "more", "id": waiting.number}))

    def forget(self, waiting: Waiting) -> None:
        """The answer is awaited no longer; a job that is not done is dropped."""
        if self._waiting.pop(waiting.number, None) is not None and waiting.answer is None and not waiting.lost:
            self.post(wire.encode({"do": "cancel", "id": waiting.number}))

    def post(self, frame: bytes) -> None:
        """Have a frame sent. Never waits."""
        self.outbox.append(frame)
        self.wake.set()

    def take(self, header: Header, blob: bytes) -> None:
        """A frame came from the process. Raises LookupError, TypeError or ValueError where it makes no sense."""
        job = self._waiting.get(header.get("id", 0))
        if job is None:
            return
        if "done" in header:
            if job.progress is not None:
                job.progress(header["done"])
        elif "part" in header:
            job.parts.append(header["part"])
            job.wake()
        else:
            job.answer = header, blob
            job.wake()

    def lose(self, why: str) -> None:
        """Fail all jobs: nothing of a process outlives it."""
        self.outbox.clear()
        waiting, self._waiting = self._waiting, {}
        for job in waiting.values():
            job.lost = why
            job.wake()
