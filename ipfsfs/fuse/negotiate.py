"""The INIT negotiation, made ours: what pyfuse3 does not ask the kernel for is asked for here.

The kernel's INIT goes to pyfuse3 through a socket pair; its reply gets our flags added, where the kernel offered them,
before the kernel sees it. Then the real descriptor takes the socket's place. Layouts are those of `linux/fuse.h`.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ipfsfs.errors import MountError
from ipfsfs.fuse.replies import Replies

_OPCODE_INIT: Final = 26
_LARGEST_REQUEST: Final = (1 << 20) + 4096
_IN_FLAGS: Final = 40 + 12
_OUT_FLAGS: Final = 28
_OUT_BACKGROUND: Final = 32
_IN_FLAGS2: Final = _IN_FLAGS + 4
_OUT_FLAGS2: Final = 48
_OUT_STACK_DEPTH: Final = 52

WANTED: Final = {
    "dont-mask": 1 << 6,
    "cache-symlinks": 1 << 23,
    "handle-killpriv-v2": 1 << 28,
}
"""What we ask for beyond pyfuse3: default ACLs that override the umask; symlinks in the kernel's cache; no question
for `security.capability` at every write."""

PASSTHROUGH: Final = "passthrough"
"""The feature by which the kernel reads files beneath itself. It stacks this filesystem on the one beneath, once."""
_INIT_EXT: Final = 1 << 30
_PASSTHROUGH: Final = 1 << (37 - 32)
_STACK_DEPTH: Final = 1

_BACKGROUND: Final = 4096
"""READs the kernel may have in flight (12 by default): that many waiting for one slow file stop nobody else (H2)."""


@dataclass(slots=True)
class Exchange:
    """The stand-in that pyfuse3 speaks to until the negotiation is over."""

    device: int
    stand_in: int
    _ours: socket.socket

    @classmethod
    def prepare(cls, device: int) -> Exchange:
        """`device` is the descriptor of the mounted connection; `stand_in` is what pyfuse3 is to speak on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_REQUEST)
        return cls(device, theirs.detach(), ours)

    async def run(self, mountpoint: Path, replies: Replies, *, native: bool) -> list[str]:
        """Negotiate, while pyfuse3's loop runs, and hand the connection over to it and to `replies`. `native`: that the
        kernel may read files beneath itself.

        Returns the features won. Raises MountError where the kernel does not begin with INIT.
        """
        await trio.lowlevel.wait_readable(self.device)
        request = os.read(self.device, _LARGEST_REQUEST)
        if struct.unpack_from("=I", request, 4)[0] != _OPCODE_INIT:
            raise MountError("the kernel did not begin with INIT")
        offered = _offered(request)
        if not native:
            offered &= ~(_PASSTHROUGH << 32)
        self._ours.send(request)
        await trio.lowlevel.wait_readable(self._ours)
        reply = bytearray(self._ours.recv(_LARGEST_REQUEST))
        won = amend(reply, offered)
        os.write(self.device, reply)
        await self._hand_over(mountpoint)
        replies.begin(self.stand_in, self.device)
        return won

    async def _hand_over(self, mountpoint: Path) -> None:
        """Put the device in the stand-in's place under pyfuse3's feet.

        Its task waits for the stand-in to become readable and then reads the descriptor of that number. It must find a
        request there, so one is made; the old end is kept open meanwhile, since closing it would end the wait.
        """
        kept = os.dup(self.stand_in)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, os.statvfs, mountpoint)
            await trio.lowlevel.wait_readable(self.device)
            trio.lowlevel.notify_closing(self.device)
            os.dup2(self.device, self.stand_in, inheritable=False)
            self._ours.send(b"\0")
        os.close(kept)
        self._ours.close()

    def close(self) -> None:
        """Give up before `run` has ended."""
        self._ours.close()
        os.close(self.device)


def amend(reply: bytearray, offered: int) -> list[str]:
    """Add what we want and the kernel offered, in 64 bits, to an INIT reply; returns the names of what was added.

    Raises MountError where the reply is an error.
    """
    error = struct.unpack_from("=i", reply, 4)[0]
    if error or len(reply) < _OUT_BACKGROUND + 4:
        raise MountError(f"INIT was answered with error {-error}")
    (flags,) = struct.unpack_from("=I", reply, _OUT_FLAGS)
    won = [name for name, bit in WANTED.items() if offered & bit]
    for name in won:
        flags |= WANTED[name]
    if offered & _INIT_EXT and offered >> 32 & _PASSTHROUGH and len(reply) >= _OUT_STACK_DEPTH + 4:
        flags |= _INIT_EXT
        struct.pack_into("=I", reply, _OUT_FLAGS2, _PASSTHROUGH)
        struct.pack_into("=I", reply, _OUT_STACK_DEPTH, _STACK_DEPTH)
        won.append(PASSTHROUGH)
    struct.pack_into("=IHH", reply, _OUT_FLAGS, flags, _BACKGROUND, _BACKGROUND * 3 // 4)
    return [*won, f"max-background-{_BACKGROUND}"]


def _offered(request: bytes) -> int:
    """What the kernel offers in INIT: 64 bits, the upper ones where it says so."""
    (flags,) = struct.unpack_from("=I", request, _IN_FLAGS)
    if flags & _INIT_EXT and len(request) >= _IN_FLAGS2 + 4:
        flags |= struct.unpack_from("=I", request, _IN_FLAGS2)[0] << 32
    return int(flags)
