"""Cold reads that the daemon checks: what they cost the thread that answers everything else, and who waits for that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Final

from tests.bench import material, processes
from tests.bench.bench import At
from tests.bench.client import ROOT
from tests.bench.material import BIG
from tests.bench.places import READ_AHEAD_KIB, USERS_READ_AHEAD_KIB, set_read_ahead
from tests.bench.reads import drop_all, sequential
from tests.bench.row import MOUNTED, Aim, Done, Line, Row, Unit

_LOOKUPS: Final = 2000
_LATE: Final = 0.99
_READING: Final = """
import mmap, os, sys
path = sys.argv[1]
fd = os.open(path, os.O_RDONLY)
buffer = mmap.mmap(-1, 1 << 20)
print("ready", flush=True)
while True:
    os.lseek(fd, 0, os.SEEK_SET)
    while os.readv(fd, [buffer]):
        pass
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    below = os.open(sys.argv[2], os.O_RDONLY)
    os.posix_fadvise(below, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(below)
"""


def loop_cpu(at: At) -> None:
    _loop_cpu(at, "cpu-cold", READ_AHEAD_KIB)


def loop_cpu_as_user(at: At) -> None:
    _loop_cpu(at, "cpu-cold-user", USERS_READ_AHEAD_KIB)


def _loop_cpu(at: At, line: str, read_ahead_kib: int) -> None:
    """CPU seconds of the thread that answers requests, for a GiB of a file that nobody has in memory."""
    assert at.place.daemon is not None
    drop_all(at)
    set_read_ahead(at.root, read_ahead_kib)
    try:
        at.bench.quiet()
        before = processes.main_thread_cpu_s(at.place.daemon)
        _, size = at.run(sequential, str(at.root / BIG), 1)
        used = processes.main_thread_cpu_s(at.place.daemon) - before
    finally:
        set_read_ahead(at.root, READ_AHEAD_KIB)
    at.record(line, (used * 2**30 / size, size))


def names(root: str, times: int) -> Done:
    """The 99th percentile of how long a name takes that the kernel does not know, of one that is not there."""
    took = []
    for number in range(times):
        path = os.path.join(root, f"missing-{os.getpid()}-{number}")
        began = time.perf_counter()
        os.path.exists(path)
        took.append(time.perf_counter() - began)
        time.sleep(0.0005)
    return sorted(took)[int(times * _LATE)], times


def bytes_there_and_back(times: int) -> Done:
    """The 99th percentile of how long a byte takes to another process and back: no request is answered sooner."""
    took = []
    with subprocess.Popen(["cat"], bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        for _ in range(times):
            began = time.perf_counter()
            other.stdin.write(b"x")
            other.stdout.read(1)
            took.append(time.perf_counter() - began)
            time.sleep(0.0005)
        other.stdin.close()
    return sorted(took)[int(times * _LATE)], times


def lookups_beside_reads(at: At) -> None:
    """Four processes read four files again and again, every cache dropped each time, while another looks names up."""
    idle = at.run(names, str(at.root), _LOOKUPS)
    reading = [
        subprocess.Popen(
            [sys.executable, "-c", _READING, at.root / name, at.place.beneath / name],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        for name in material.FOUR
    ]
    try:
        for process in reading:
            assert process.stdout is not None
            process.stdout.readline()
        beside = at.run(names, str(at.root), _LOOKUPS)
        passed = at.run(bytes_there_and_back, _LOOKUPS)
    finally:
        for process in reading:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    at.record("lookup-idle", (idle[0], 1.0))
    at.record("lookup-beside", (beside[0], 1.0))
    at.record("lookup-late", (1.0, beside[0] / idle[0]))
    at.record("passed-beside", (passed[0], 1.0))


def _cpu_row(name: str, title: str, measure: object, most: float) -> Row:
    assert callable(measure)
    return Row(measure, (Line(name, title, Unit.SECONDS, Aim(at_most=most)),), needs=("big",), places=MOUNTED)


ROWS: Final = (
    _cpu_row("cpu-cold", "CPU of the thread that answers, for a GiB with every cache dropped", loop_cpu, 0.1),
    _cpu_row("cpu-cold-user", "the same, read-ahead as an ordinary user's (128 KiB)", loop_cpu_as_user, 0.4),
    Row(
        lookups_beside_reads,
        (
            Line("lookup-idle", "lookup of a name, 99th percentile", Unit.SECONDS),
            Line("lookup-beside", "the same, while four processes read cold files", Unit.SECONDS),
            Line("passed-beside", "a byte to another process and back, beside these", Unit.SECONDS),
            Line("lookup-late", "how many times as long that is", Unit.TIMES, Aim(at_most=3)),
        ),
        needs=("four",),
        places=MOUNTED,
    ),
)
