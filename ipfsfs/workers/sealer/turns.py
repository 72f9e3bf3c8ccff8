"""Which job does the next step: the most urgent ones in turns, and now and then one that has waited long."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from typing import Any, Final

TURN_S: Final = 0.05
"""How long a job goes on before another gets its turn: a disk with heads reads seven megabytes in that time, and moves
its heads for a fifth of it."""

FAIR_AFTER_S: Final = 7 * TURN_S
"""After so much work on the most urgent jobs, the job that has waited longest gets a turn, whatever its rank: no job
waits for ever."""


class Rank(IntEnum):
    """How urgent a job is; the lowest comes first. A rename waits for a DIGEST. FOLLOW hashes what downloads have
    written so far. SEAL is of what was just written, WAITING_SEAL of what was there before."""

    DIGEST = 0
    FOLLOW = 1
    SEAL = 2
    VERIFY = 3
    WAITING_SEAL = 4
    SETTLE = 5
    WALK = 6


@dataclass(slots=True, eq=False)
class Job:
    """Work that is done in steps. `credit`: a job with none left waits until it is given some. `done`: bytes so far."""

    number: int
    rank: Rank
    path: bytes
    steps: Generator[int, None, Any]
    credit: int = 1
    done: int = 0
    turn: int = 0
    """When it last had a turn, or came: a count of both."""


@dataclass(slots=True)
class Turns:
    """All jobs that are not done, by number. Times are those of one clock that never goes back, in seconds."""

    _jobs: dict[int, Job] = field(default_factory=dict)
    _count: int = 0
    _current: Job | None = None
    _began: float = 0.0
    _spent: float = 0.0
    """Work since a turn last went to the job that had waited longest."""

    def add(self, job: Job) -> None:
        """A job came. It waits for those of its rank that are there; a less urgent one makes way for it at once."""
        job.turn = self._next()
        self._jobs[job.number] = job
        if self._current is not None and job.rank < self._current.rank:
            self._current = None

    def get(self, number: int) -> Job | None:
        """A job that is not done."""
        return self._jobs.get(number)

    def remove(self, number: int) -> Job | None:
        """A job is done, or given up."""
        job = self._jobs.pop(number, None)
        if job is self._current:
            self._current = None
        return job

    def job(self, now: float) -> Job | None:
        """The job that does the next step; None where none can."""
        job = self._current
        if job is not None and job.credit > 0 and now < self._began + TURN_S:
            return job
        ready = [job for job in self._jobs.values() if job.credit > 0]
        if not ready:
            self._current = None
            return None
        self._spent += min(now - self._began, TURN_S)
        if self._spent < FAIR_AFTER_S:
            job = min(ready, key=attrgetter("rank", "turn"))
        else:
            job, self._spent = min(ready, key=attrgetter("turn")), 0.0
        job.turn = self._next()
        self._current, self._began = job, now
        return job

    def _next(self) -> int:
        self._count += 1
        return self._count
