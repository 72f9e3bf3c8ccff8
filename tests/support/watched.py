"""What every process of ipfsfs has among its arguments and in its environment, while a block runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_LOOK_S: Final = 0.002


@dataclass(slots=True)
class Watched:
    """By number and kind of process: `arguments`, which every user can read, and `environments` of the processes
    beside a daemon."""

    arguments: dict[int, bytes] = field(default_factory=dict)
    environments: dict[int, bytes] = field(default_factory=dict)

    def look(self) -> None:
        """Look at all that run now."""
        for pid in os.listdir("/proc"):
            if pid.isdigit() and int(pid) not in self.environments:
                try:
                    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"ipfsfs" not in arguments or b"pytest" in arguments:
                        continue
                    self.arguments[int(pid)] = arguments
                    self.environments[int(pid)] = Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:
                    continue


@contextmanager
def watched() -> Iterator[Watched]:
    """Look at processes all the time."""
    found, over = Watched(), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            found.look()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        over.set()
        looking.join()
