"""A process that reads what others made is ended when it takes too much memory; it does not hang."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_GREEDY = """
import trio
from ipfsfs.workers.memory import bound_memory, {end}

async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(grow)

async def grow():
    kept = []
    while True:
        kept.append(b"x" * (1 << 20))
        await trio.lowlevel.checkpoint()

bound_memory({end})
trio.run(main)
"""


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


def test_h48_a_worker_that_takes_too_much_is_killed() -> None:
    assert _run(_GREEDY.format(end="end_by_signal")).returncode == -signal.SIGKILL


def test_h48_a_command_that_takes_too_much_says_so() -> None:
    done = _run(_GREEDY.format(end="end_in_words"))
    assert done.returncode == 1
    assert done.stderr.startswith("ipfsfs: what was read needs more than 400 MiB of memory, and was given up\n")


@pytest.mark.parametrize("bytes_", [100 << 20, 300 << 20])
def test_what_takes_less_goes_on(bytes_: int) -> None:
    script = f"""
import time
from ipfsfs.workers.memory import bound_memory, end_by_signal
bound_memory(end_by_signal)
kept = b"x" * {bytes_}
time.sleep(0.2)
print("well")
"""
    assert _run(script).stdout == "well\n"
