"""What the kernel says of other processes: their CPU time, their memory, their children."""

from __future__ import annotations

import time
from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU seconds that all threads of a process have used, to the nanosecond; 0 for one that is gone.

    The clock's number is what clock_getcpuclockid(3) computes on Linux.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def main_thread_cpu_s(pid: int) -> float:
    """CPU seconds that the first thread of a process has used, which in a daemon answers requests."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet buried."""
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
