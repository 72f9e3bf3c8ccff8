"""Lines of the log, as the daemon and its guardian write them.

In a file each has a time stamp and its level. In the journal it has the priority by which `journalctl -p` chooses
(sd-daemon(3)), and no time: the journal has its own.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from ipfsfs.printed import printable

STAMP: Final = "%Y-%m-%dT%H:%M:%S"
_PRIORITIES: Final = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
LEVELS: Final = frozenset(_PRIORITIES)
"""The names of levels, as they stand in a line."""


def goes_to_journal() -> bool:
    """Whether our stderr is a stream of the journal: systemd names the one it gave (systemd.exec(5))."""
    try:
        ours = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{ours.st_dev}:{ours.st_ino}"


def for_journal(level: str, text: str) -> str:
    """The text with its priority: before each line, since each becomes an entry of the journal."""
    return "\n".join(f"<{_PRIORITIES[level]}>{line}" for line in text.split("\n"))


def say(level: str, text: str) -> None:
    """Write a line as logging would, where that is too much to have: what the guardian has on stderr is the log."""
    line = printable(text)
    sys.stderr.write(for_journal(level, line) if goes_to_journal() else f"{time.strftime(STAMP)} {level} {line}")
    sys.stderr.write("\n")
    sys.stderr.flush()
