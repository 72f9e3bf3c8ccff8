"""Which of the threads that answer READs does what: a few do what is in memory, others wait for disks.

As many are at work as there are processors. One that begins to wait for a disk leaves its place to another, so that
disks that do not answer stop no work; how many may wait is limited, of one file's in particular (H2). What was waited
for is work again: were it done by who waited, as many as waited would share the processors, and Python's lock.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAITING: Final = 16
"""Threads that may wait for disks."""
WAITING_FOR_ONE: Final = 8
"""As many may wait for one file: a file whose disk does not answer must leave room for the others."""


@dataclass(slots=True)
class Shifts(Generic[T]):
    """Jobs, and whose turn it is. All threads use it, and the event loop."""

    at_work: int = field(default_factory=lambda: min(len(os.sched_getaffinity(0)), WAITING))
    """How many may be at work that do not wait."""
    _working: int = 0
    _jobs: deque[T] = field(default_factory=deque)
    _idle: list[threading.Lock] = field(default_factory=list)
    """The bells of those who have nothing to do. The last is rung first: its memory is in the processor's cache."""
    _waiting: Counter[Hashable] = field(default_factory=Counter)
    """How many wait, by file."""
    _to_wait: dict[Hashable, deque[T]] = field(default_factory=dict)
    """The jobs that have to wait for a disk when there is room, by file."""
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._working = self.threads  # each finds at once that it has nothing to do

    @property
    def threads(self) -> int:
        """How many threads it takes."""
        return WAITING + self.at_work

    def put(self, job: T) -> bool:
        """Have a job done. False after the end."""
        with self._lock:
            if self._is_over:
                return False
            self._jobs.append(job)
            bell = self._bell() if self._working < self.at_work else None
            self._working += bell is not None
        if bell is not None:
            bell.release()
        return True

    def next(self, bell: threading.Lock) -> T | None:
        """What the calling thread is to do now, which is through with all it had; None at the end. `bell` is a lock of
        its own, which it holds."""
        while True:
            with self._lock:
                if self._is_over:
                    return None
                if self._jobs and self._working <= self.at_work:
                    return self._jobs.popleft()
                self._working -= 1
                self._idle.append(bell)
            bell.acquire()

    def wait(self, job: T | None, file: Hashable) -> bool:
        """Whether the calling thread may wait for a file's disk now, until it calls `waited`. If not, another is given
        the job by that."""
        with self._lock:
            if not self._may_wait(file):
                if job is not None:
                    self._to_wait.setdefault(file, deque()).append(job)
                return False
            self._waiting[file] += 1
            bell = self._bell()
            self._working -= bell is None
        if bell is not None:
            bell.release()
        return True

    def waited(self, file: Hashable, ready: T | None = None) -> T | None:
        """The calling thread has waited for a file's disk. `ready` needs to wait no longer. Returns a job that the
        thread is to wait for next; None where it is to go on with what is in memory."""
        with self._lock:
            if ready is not None and self._is_over:
                return ready  # nobody else will
            self._waiting[file] -= 1
            if not self._waiting[file]:
                del self._waiting[file]
            if ready is not None:
                self._jobs.append(ready)
            following = self._let_wait()
            bell = self._bell() if following is not None and self._working < self.at_work else None
            self._working += following is None or bell is not None
        if bell is not None:
            bell.release()
        return following

    def end(self) -> list[T]:
        """Let the threads end, each after what it does now. Returns the jobs that nobody will do."""
        with self._lock:
            self._is_over = True
            left = [*self._jobs, *(job for jobs in self._to_wait.values() for job in jobs)]
            self._jobs.clear()
            self._to_wait.clear()
            bells, self._idle = self._idle, []
        for bell in bells:
            bell.release()
        return left

    def _let_wait(self) -> T | None:
        """The next of the jobs that have to wait, if there is room."""
        for file, jobs in self._to_wait.items():
            if self._may_wait(file):
                job = jobs.popleft()
                del self._to_wait[file]
                if jobs:
                    self._to_wait[file] = jobs  # behind the others: files take turns
                self._waiting[file] += 1
                return job
        return None

    def _bell(self) -> threading.Lock | None:
        """The bell of a thread that should work, if there is something to do."""
        return self._idle.pop() if self._idle and self._jobs else None

    def _may_wait(self, file: Hashable) -> bool:
        return self._waiting.total() < WAITING and self._waiting[file] < WAITING_FOR_ONE
