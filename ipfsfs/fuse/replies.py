"""Replies to OPENDIR, OPEN and CREATE, with what pyfuse3 cannot say in them.

As in the negotiation, a stand-in takes the place of pyfuse3's descriptor under its feet, here for one reply: handlers
answer at once, and pyfuse3 sends the reply before any other task runs. Layouts are those of `linux/fuse.h`.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from typing import Final

log = logging.getLogger(__name__)

KEEP_CACHE: Final = 1 << 1
CACHE_DIR: Final = 1 << 3
PASSTHROUGH: Final = 1 << 7

_ERROR: Final = 4
_OPENED: Final = struct.Struct("=IIi")
"""The end of each reply to an open: the handle's upper half, the flags, and the number of a file beneath."""
_OPEN_LENGTH: Final = 32
_CREATE_LENGTH: Final = 160


class Replies:
    """Adds to replies once `begin` was called; until then, and where it never is, replies stay as they are."""

    __slots__ = ("_backing", "_descriptor", "_device", "_flags", "_ours", "_theirs")

    def __init__(self) -> None:
        self._descriptor = self._device = -1
        self._flags = self._backing = 0
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    def begin(self, descriptor: int, device: int) -> None:
        """`descriptor` is where pyfuse3 speaks to the kernel, `device` another for the same connection, ours now."""
        self._descriptor, self._device = descriptor, device

    @property
    def device(self) -> int:
        """Another descriptor for the connection than pyfuse3's; -1 where there is none."""
        return self._device

    def add(self, open_flags: int) -> None:
        """Add flags to the reply of the handler that calls this as the last thing it does."""
        if self._device >= 0 and open_flags:
            os.dup2(self._theirs.fileno(), self._descriptor, inheritable=False)
            self._flags = open_flags

    def pass_through(self, backing: int) -> None:
        """As `add`: the kernel is to read the file of this number instead of asking for its bytes."""
        self.add(PASSTHROUGH)
        self._backing = backing

    def send(self) -> None:
        """Send on the reply that flags were to be added to, if there is one; before anything else of pyfuse3's."""
        if not self._flags:
            return
        os.dup2(self._device, self._descriptor, inheritable=False)
        flags, self._flags = self._flags, 0
        backing, self._backing = self._backing, 0
        try:
            reply = bytearray(self._ours.recv(_CREATE_LENGTH))
            if len(reply) in (_OPEN_LENGTH, _CREATE_LENGTH) and not struct.unpack_from("=i", reply, _ERROR)[0]:
                handle, given, _ = _OPENED.unpack_from(reply, len(reply) - _OPENED.size)
                # No other flag may stand beside that one: the kernel would fail the open.
                flags = flags if flags == PASSTHROUGH else given | flags
                _OPENED.pack_into(reply, len(reply) - _OPENED.size, handle, flags, backing)
            os.write(self._device, reply)
        except OSError as error:  # the kernel has ended the connection, or the request: nobody waits for this
            log.info("a reply to an open found nobody: %s", error.strerror)

    def close(self) -> None:
        """Let go of the connection."""
        self._ours.close()
        self._theirs.close()
        if self._device >= 0:
            os.close(self._device)
            self._device = -1
