"""Lines of the daemon's log, as the daemon and its guardian write them."""

from __future__ import annotations

import sys
import time
from typing import Final

from ipfsfs.printed import printable

STAMP: Final = "%Y-%m-%dT%H:%M:%S"


def say(level: str, text: str) -> None:
    """Write a line as logging would, where that is too much to have: what the guardian has on stderr is the log."""
    sys.stderr.write(f"{time.strftime(STAMP)} {level} {printable(text)}\n")
    sys.stderr.flush()
