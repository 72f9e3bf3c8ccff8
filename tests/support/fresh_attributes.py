"""Has the kernel ask for attributes that it may still trust from before (statx(2), AT_STATX_FORCE_SYNC)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_FORCE_SYNC: Final = 0x2000
_BASIC: Final = 0x7FF
_BUFFER_SIZE: Final = 256


def ask_for_directories(root: Path) -> None:
    """Below a view, after which times of directories are those of the plain directory: content that comes changes them
    unasked, and the kernel notices within a second."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_BUFFER_SIZE)
    for directory, _, _ in os.walk(root):
        if libc.statx(_AT_FDCWD, os.fsencode(directory), _FORCE_SYNC, _BASIC, buffer) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), directory)
