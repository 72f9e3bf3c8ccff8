"""Gives a process that runs tests a table of mounts of its own, as root.

Processes of tests run side by side, and some tests copy the table of mounts (`unshare --mount`). What one process has
mounted must not be in a copy that a test of another holds: it would be busy there. The mounts end with the process.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
"""Of unshare(2), whose first caller in Python is 3.12's."""


def own_mounts() -> None:
    """Have the calling thread, and all that it starts, see no later mounts of others, nor let its own be seen.

    Raises OSError. Who is not root mounts nothing that could be copied, and keeps the table.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "the table of mounts cannot be copied")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
