"""The sealing process: takes jobs from a pipe, does them in turns, a step at a time, answers through another.

Started as `python -m ipfsfs.workers.sealer.worker ROOT REQUESTS RESULTS MANNERS`: three inherited descriptors, and
"polite" or "prompt". It opens nothing but files below the root, keeps nothing on disk, and ends when the pipe of
requests does.
"""

from __future__ import annotations

import errno
import math
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.identity import Identity
from ipfsfs.plain import syscalls, tree
from ipfsfs.plain.tree import Found
from ipfsfs.workers import wire
from ipfsfs.workers.sealer import answers, jobs, sharing
from ipfsfs.workers.sealer.following import Following
from ipfsfs.workers.sealer.hashing import new_buffer
from ipfsfs.workers.sealer.outcome import Failed
from ipfsfs.workers.sealer.turns import Job, Rank, Turns
from ipfsfs.workers.wire import Header

BATCHES_AHEAD: Final = 4
"""Batches of a walk that are sent before one must be asked for."""

_FOLLOWING: Final = 0
"""The number of the job that hashes what downloads have written so far. It never ends."""
_RANKS: Final = {
    "digest": Rank.DIGEST,
    "verify": Rank.VERIFY,
    "read": Rank.VERIFY,
    "settle": Rank.SETTLE,
    "share": Rank.SETTLE,
    "tell": Rank.SETTLE,
    "walk": Rank.WALK,
}
_IDLE: Final = 2
_HELD_MOST_S: Final = 5.0
_WORKS_S: Final = 1.0
"""Held for so long at a time, and then at work for so long: who reads without a pause must not starve sealing."""
_REPORT_S: Final = 0.2
_READ: Final = 1 << 16

_Outcome = answers.Outcome | bool | None
_Steps = Generator[int, None, _Outcome]


@dataclass(slots=True)
class Worker:
    """All jobs of the process. `results` is written to blocking: the daemon always reads."""

    root: jobs.Root
    requests: int
    results: int
    _turns: Turns = field(default_factory=Turns)
    _decoder: wire.Decoder = field(default_factory=wire.Decoder)
    _buffer: memoryview = field(default_factory=new_buffer)
    _following: Following = field(init=False)
    _total: int = 0
    _told: int = 0
    _reported: float = 0.0
    _held_since: float = -math.inf
    _held_until: float = -math.inf

    def __post_init__(self) -> None:
        self._following = Following(self.root)
        self._turns.add(Job(_FOLLOWING, Rank.FOLLOW, b"", self._follow_on(), credit=0))

    def run(self) -> None:
        """Work until the pipe of requests ends."""
        poll = select.poll()
        poll.register(self.requests, select.POLLIN)
        busy = False
        while True:
            held_s = self._held_until - time.monotonic()
            if poll.poll((1 + held_s * 1000 if held_s > 0 else 0) if busy else None):
                data = os.read(self.requests, _READ)
                if not data:
                    return
                for header, blob in self._decoder.feed(data):
                    self._take(header, blob)
            busy = time.monotonic() < self._held_until or self._step()

    def _take(self, header: Header, blob: bytes) -> None:
        match header["do"]:
            case "follow":
                self._follow(header)
            case "hold":
                self._hold(header["seconds"])
            case "cancel":
                if (job := self._turns.remove(header["id"])) is not None:
                    job.steps.close()
            case "more":
                if (job := self._turns.get(header["id"])) is not None:
                    job.credit += 1
            case what:
                number, path = header["id"], wire.path(header["path"])
                steps = self._steps(what, number, path, header, blob)
                self._turns.add(Job(number, _rank(what, header), path, steps, BATCHES_AHEAD if what == "walk" else 1))

    def _hold(self, seconds: float) -> None:
        now = time.monotonic()
        if now > self._held_until + _WORKS_S:
            self._held_since = now
        self._held_until = min(now + seconds, self._held_since + _HELD_MOST_S)

    def _follow(self, header: Header) -> None:
        ino = header["ino"]
        if header["end"]:
            self._following.unfollow(ino)
        if header["restart"]:
            self._following.restart(ino)
        if header["prefix"]:
            self._following.follow(ino, wire.path(header["path"]), header["prefix"])
        if (job := self._turns.get(_FOLLOWING)) is not None:
            job.credit = int(self._following.is_behind)

    def _follow_on(self) -> _Steps:
        while True:
            yield self._following.advance(self._buffer)

    def _steps(self, what: str, number: int, path: bytes, header: Header, blob: bytes) -> _Steps:
        match what:
            case "seal":
                return jobs.seal(self.root, path, header["ino"], header["chunker"], self._buffer, whole=header["whole"])
            case "digest":
                return self._following.digest(path, header["ino"], bytes.fromhex(header["expected"]), self._buffer)
            case "verify":
                cut = header["leaves"]
                leaves, sums = (blob[:cut], blob[cut:]) if cut is not None else (None, blob)
                identity, sha256 = Identity(*header["identity"]), bytes.fromhex(header["sha256"])
                return jobs.verify(self.root, path, identity, leaves, sums, sha256, self._buffer)
            case "read":
                return jobs.read(self.root, path, header["ino"], self._buffer)
            case "settle":
                return _at_once(self.root, path, Identity(*header["identity"]))
            case "share" | "tell":
                kept = Found(wire.path(header["kept"]), Identity(*header["kept_identity"]))
                return sharing.share(self.root, kept, Found(path, Identity(*header["identity"])), what)
            case "walk":
                return self._walk(number, path)
        raise FormatError(f"no such job: {what}")

    def _walk(self, number: int, prefix: bytes) -> Generator[int, None, None]:
        for batch in tree.regular_files(self.root.fd, prefix):
            yield 0
            for part in _portions(batch):
                self._send({"id": number, "part": answers.encode_batch(part)})
                if (job := self._turns.get(number)) is not None:
                    job.credit -= 1
                yield 0

    def _step(self) -> bool:
        """Do a step of one job; returns whether there is more to do now."""
        job = self._turns.job(time.monotonic())
        if job is None:
            if self._total != self._told:
                self._report(0, b"", at_once=True)
            return False
        try:
            count = next(job.steps)
        except StopIteration as end:
            self._finish(job, end.value)
        except Exception as error:
            # One file that we cannot cope with must not take the process, and all other jobs, with it.
            traceback.print_exc()
            self._finish(job, Failed(errno.EIO, f"the sealer failed: {type(error).__name__}"))
        else:
            job.done += count
            self._report(count, job.path, job)
            if job.number == _FOLLOWING:
                job.credit = int(self._following.is_behind)
        return True

    def _finish(self, job: Job, outcome: _Outcome) -> None:
        self._turns.remove(job.number)
        done: Header = {"id": job.number, "total": self._total}
        if outcome is None or isinstance(outcome, bool):
            self._send({**done, "ok": outcome is not False})
            return
        header, blob = answers.encode(outcome)
        self._send({**done, **header}, blob)

    def _report(self, count: int, path: bytes, job: Job | None = None, *, at_once: bool = False) -> None:
        self._total += count
        now = time.monotonic()
        if at_once or now - self._reported >= _REPORT_S:
            self._reported, self._told = now, self._total
            header = {"total": self._total, "path": wire.text(path)}
            if job is not None:
                header |= {"id": job.number, "done": job.done}
            self._send(header)

    def _send(self, header: Header, blob: bytes = b"") -> None:
        left = memoryview(wire.encode(header, blob))
        while left:
            left = left[os.write(self.results, left) :]


def _rank(what: str, header: Header) -> Rank:
    if what == "seal":
        return Rank.WAITING_SEAL if header["urgency"] == _IDLE else Rank.SEAL
    return _RANKS[what]


def _at_once(root: jobs.Root, path: bytes, identity: Identity) -> Generator[int, None, bool]:
    yield 0
    return jobs.settle(root, path, identity)


def _portions(batch: list[tree.Found | tree.Unreadable]) -> Iterator[list[tree.Found | tree.Unreadable]]:
    """Cuts a batch so that each part fits a frame, however long the paths are."""
    part: list[tree.Found | tree.Unreadable] = []
    size = 0
    for item in batch:
        if size + len(item.path) > _READ and part:
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item.path)
    if part:
        yield part


def main(arguments: list[str]) -> None:
    """Run the process."""
    root, requests, results = (int(number) for number in arguments[:3])
    # Ctrl-C and a service's stop are for the daemon, which ends this process when it has no more use for it. A lease
    # that is asked back while it is held (for microseconds) sends SIGIO.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)
    syscalls.signal_at_parents_end(signal.SIGKILL)
    if arguments[3] == "polite":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        syscalls.idle_io_priority()
    with suppress(BrokenPipeError):
        Worker(jobs.Root.at(root), requests, results).run()


if __name__ == "__main__":
    main(sys.argv[1:])
