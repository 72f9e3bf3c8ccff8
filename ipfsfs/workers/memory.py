"""A bound on the memory of a process that reads what others made: trees, CARs and blocks from anywhere.

A thread looks at what the process has in memory, and ends it. A limit by setrlimit(2) makes an allocation fail instead,
wherever that happens to be: in trio's own run loop it loses a task, and the process waits for ever. Around one call
that keeps Python's lock from all threads there is no other way (`bounded`).
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MOST: Final = 400 << 20
"""Bytes that such a process may have in memory, files that it has mapped excepted."""
_NOTE: Final = "what was read needs more memory than this process may have: it ends, and is started again\n"
_LOOKED_S: Final = 0.02
"""A process that fills memory as fast as it can gets some 50 MB further meanwhile."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def bound_memory(end: Callable[[], None], most: int = MOST) -> None:
    """Have `end` called, by a thread, once this process has more than `most` in memory; it is to end the process."""
    threading.Thread(target=_watch, args=(end, most), name="memory", daemon=True).start()


@contextmanager
def bounded(most: int = MOST) -> Iterator[None]:
    """Have what would take more than `most` of memory raise MemoryError while the block runs, which is to be one call
    that keeps Python's lock: no thread looks at the memory during that, nor has a task that it could be lost to."""
    resident, shared, _, _, data = map(int, Path("/proc/self/statm").read_bytes().split()[1:6])
    before, hardest = resource.getrlimit(resource.RLIMIT_DATA)
    left = max(0, most - (resident - shared) * _PAGE)
    resource.setrlimit(resource.RLIMIT_DATA, (data * _PAGE + left, hardest))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hardest))


def end_by_signal() -> None:
    """End this process as one that went wrong, for who started it to see, with a line for the log."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, _NOTE.encode())
    os.kill(os.getpid(), signal.SIGKILL)


def end_in_words() -> None:
    """End this process, which is a user's command, with a sentence and exit code 1."""
    text = (
        f"ipfsfs: what was read needs more than {MOST >> 20} MiB of memory, and was given up\n"
        "Such a tree has millions of names or blocks. Name a part of it: /ipfs/CID/PATH.\n"
    )
    os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, text.encode())
    os._exit(1)


def _watch(end: Callable[[], None], most: int) -> None:
    with open("/proc/self/statm", "rb", buffering=0) as file:
        while True:
            _, resident, shared, *_ = file.read().split()
            if (int(resident) - int(shared)) * _PAGE > most:
                end()
            file.seek(0)
            time.sleep(_LOOKED_S)  # nothing tells of memory
