"""What a process waits for, for the dump of a test that hangs."""

from __future__ import annotations

import os
from pathlib import Path


def dump(pid: int) -> str:
    """The state of each thread of a process, and where in the kernel it waits (as far as we may know)."""
    lines = [f"process {pid}: {_read(pid, 'cmdline').replace(chr(0), ' ')[:200]}"]
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return f"process {pid} is gone"
    for thread in threads:
        state = next(
            (line for line in _read(pid, f"task/{thread}/status").splitlines() if line.startswith("State")), ""
        )
        stack = " < ".join(line.split()[-1] for line in _read(pid, f"task/{thread}/stack").splitlines()[:8])
        lines.append(f"  thread {thread}: {state} {_read(pid, f'task/{thread}/wchan')} {stack}")
    return "\n".join(lines)


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
