"""Replies to OPENDIR, OPEN and CREATE with what pyfuse3 cannot say in them; replies that are given past pyfuse3, and
requests that were read past it.

As in the negotiation, a stand-in takes the place of pyfuse3's descriptor under its feet, here for one reply or request:
handlers answer at once, and pyfuse3 sends the reply before any other task runs. Layouts are those of `linux/fuse.h`.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Final, Protocol

log = logging.getLogger(__name__)

KEEP_CACHE: Final = 1 << 1
CACHE_DIR: Final = 1 << 3
PASSTHROUGH: Final = 1 << 7

_ERROR: Final = 4
_OPENED: Final = struct.Struct("=IIi")
"""The end of each reply to an open: the handle's upper half, the flags, and the number of a file beneath."""
_OPEN_LENGTH: Final = 32
_CREATE_LENGTH: Final = 160
_UNIQUE: Final = struct.Struct("=8xQ")
_HEADER_LENGTH: Final = 16
_ASIDE_LENGTH: Final = 256 * _HEADER_LENGTH

# As os.dup2, but Python's lock is kept: to let go of it for so short a call wakes in vain those who wait for it.
_dup3: Final = ctypes.PyDLL(None).dup3


class Withheld(Protocol):
    """A request that pyfuse3 is to believe answered, and that is answered later, past it."""

    def begin(self, unique: int) -> None:
        """The kernel knows the request by this number."""

    def drop(self) -> None:
        """It cannot be answered: the connection has ended."""


class Replies:
    """Adds to replies once `begin` was called; until then, and where it never is, replies stay as they are."""

    __slots__ = (
        "_aside",
        "_at",
        "_backing",
        "_descriptor",
        "_device",
        "_flags",
        "_injected",
        "_injecting",
        "_ours",
        "_theirs",
        "_withheld",
        "_written",
    )

    def __init__(self) -> None:
        self._descriptor = self._device = -1
        self._flags = self._backing = 0
        self._withheld: Withheld | None = None
        self._injecting = os.memfd_create("injected requests")
        self._injected = 0
        self._aside = os.memfd_create("withheld replies")
        os.ftruncate(self._aside, _ASIDE_LENGTH)
        self._written = mmap.mmap(self._aside, _ASIDE_LENGTH)
        self._at = 0
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)

    def begin(self, descriptor: int, device: int) -> None:
        """`descriptor` is where pyfuse3 speaks to the kernel, `device` another for the same connection, ours now."""
        self._descriptor, self._device = descriptor, device

    @property
    def device(self) -> int:
        """Another descriptor for the connection than pyfuse3's; -1 where there is none."""
        return self._device

    def device_of_ours(self) -> int:
        """A new descriptor of the connection, the caller's; -1 where replies stay as they are."""
        return os.dup(self._device) if self._device >= 0 else -1

    def add(self, open_flags: int) -> None:
        """Add flags to the reply of the handler that calls this as the last thing it does."""
        if self._device >= 0 and open_flags:
            os.dup2(self._theirs.fileno(), self._descriptor, inheritable=False)
            self._flags = open_flags

    def pass_through(self, backing: int) -> None:
        """As `add`: the kernel is to read the file of this number instead of asking for its bytes."""
        self.add(PASSTHROUGH)
        self._backing = backing

    def withhold(self, request: Withheld) -> None:
        """Keep the reply of the handler that calls this as the last thing it does from the kernel: `request` gets its
        number, to be answered by that."""
        _dup3(self._aside, self._descriptor, os.O_CLOEXEC)
        self._withheld = request

    def inject(self, request: bytes) -> None:
        """Have pyfuse3 read a request that was taken from the connection already, before anything else."""
        os.ftruncate(self._injecting, 0)
        os.pwrite(self._injecting, request, 0)
        os.lseek(self._injecting, 0, os.SEEK_SET)
        _dup3(self._injecting, self._descriptor, os.O_CLOEXEC)
        self._injected = len(request)

    def restore(self) -> None:
        """After that, before anything else of pyfuse3's: send on what it said to the request, if that was at once."""
        if not self._injected:
            return
        _dup3(self._device, self._descriptor, os.O_CLOEXEC)
        at, self._injected = self._injected, 0
        said = memoryview(os.pread(self._injecting, os.lseek(self._injecting, 0, os.SEEK_END) - at, at))
        while said:
            length = int.from_bytes(said[:4], sys.byteorder)
            with suppress(OSError):  # the kernel has ended the connection, or the request: nobody waits for this
                os.write(self._device, said[:length])
            said = said[length:]

    def send(self) -> bool:
        """Send on the reply that flags were to be added to, if there is one; before anything else of pyfuse3's. Returns
        whether it was one to be withheld instead."""
        self.restore()
        if self._withheld is not None:
            self._keep()
            return True
        if self._flags:
            self._send()
        return False

    def _keep(self) -> None:
        _dup3(self._device, self._descriptor, os.O_CLOEXEC)
        request, self._withheld = self._withheld, None
        (unique,) = _UNIQUE.unpack_from(self._written, self._at)
        self._at += _HEADER_LENGTH
        if self._at + _HEADER_LENGTH > len(self._written):
            self._at = os.lseek(self._aside, 0, os.SEEK_SET)
        assert request is not None
        request.begin(unique)

    def _send(self) -> None:
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

    def end(self) -> None:
        """End the connection: whoever waits for a reply is told so, and what is said from now on is heard by nobody.
        Where replies stay as they are, it ends with pyfuse3's descriptor."""
        if self._device >= 0:
            os.ftruncate(self._injecting, 0)
            os.lseek(self._injecting, 0, os.SEEK_SET)
            for number in (self._descriptor, self._device):  # handlers that wait for a disk use them yet
                os.dup2(self._injecting, number, inheritable=False)

    def close(self) -> None:
        """Let go of the connection."""
        self._ours.close()
        self._theirs.close()
        self._written.close()
        os.close(self._aside)
        os.close(self._injecting)
        if self._device >= 0:
            os.close(self._device)
            self._device = -1
