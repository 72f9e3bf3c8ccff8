"""Kernel passthrough: files that the kernel reads and writes beneath the view itself (Linux 6.9, root only).

A descriptor of a file beneath is registered with the connection; the reply to an open then names its number. Numbers
and structures are those of `linux/fuse.h` (`FUSE_DEV_IOC_BACKING_OPEN`).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import struct
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

_TYPE: Final = 229 << 8
_WRITE: Final = 1 << 30
_MAP: Final = struct.Struct("=iIQ")
_NUMBER: Final = struct.Struct("=I")
_BACKING_OPEN: Final = _WRITE | _MAP.size << 16 | _TYPE | 1
_BACKING_CLOSE: Final = _WRITE | _NUMBER.size << 16 | _TYPE | 2


@dataclass(slots=True, frozen=True)
class Passthrough:
    """Registers files with the connection behind `device`, a descriptor that its owner keeps open."""

    device: int

    def register(self, fd: int) -> int:
        """The kernel's number of the file that is open as `fd`. It is read and written with the credentials that the
        calling thread has at this moment. Raises OSError."""
        # The number is what the call returns, which Python tells of a buffer that could be changed only.
        number: int = fcntl.ioctl(self.device, _BACKING_OPEN, bytearray(_MAP.pack(fd, 0, 0)), True)
        return number

    def unregister(self, number: int) -> None:
        """Let go of a file that no handle is open of. Never raises."""
        try:
            fcntl.ioctl(self.device, _BACKING_CLOSE, _NUMBER.pack(number))
        except OSError as error:  # the kernel has ended the connection, and let go of all
            if error.errno != errno.ENOENT:
                log.info("the kernel did not let go of a file: %s", error.strerror)
