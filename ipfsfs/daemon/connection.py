"""A connection to the daemon of a store, and what is checked before a word of it is believed.

Any user who may mount can put up a mount that calls itself a view, with any directory as its store. So the store, its
socket and the process behind that have to belong to the user who mounted the view, by the kernel's word for each. Root
asks other users' daemons too: nothing that they do, or leave undone, keeps root waiting without end.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.errors import NoAnswer
from ipfsfs.plain import syscalls
from ipfsfs.store.directory import open_directory

_CONNECT_S: Final = 10.0
_ANSWER_MOST: Final = 64 << 20
"""The longest line, in bytes, of a daemon of ours: the leaves of half a terabyte."""
_ANOTHERS_MOST: Final = 4 << 20
"""That of another user's daemon, which may say anything."""
_AT_FDCWD: Final = -100
_PEER: Final = struct.Struct("=iII")
_SECONDS: Final = struct.Struct("@ll")


@dataclass(slots=True, frozen=True)
class Connection:
    """A connection to a daemon of `owner`."""

    socket: socket.socket
    owner: int

    @classmethod
    def open(cls, store: Path, owner: int) -> Connection:
        """Connect to the daemon of a store, which has to be that user's. Raises NoAnswer within ten seconds."""
        try:
            talker = _connect(store, owner) if owner == os.geteuid() else _connect_in_child(store, owner)
        except TimeoutError as error:
            raise NoAnswer(f"the daemon of the store {store} does not answer") from error
        except OSError as error:
            raise NoAnswer(f"no daemon answers for the store {store}: {error.strerror or error}") from error
        try:
            _, uid, _ = _PEER.unpack(talker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid != owner:
                raise NoAnswer(f"the process behind the store {store} is of user {uid}; the view is of user {owner}")
        except BaseException:
            talker.close()
            raise
        return cls(talker, owner)

    @property
    def is_ours(self) -> bool:
        """Whether the daemon is of the user who asks."""
        return self.owner == os.geteuid()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def send(self, line: bytes, patience_s: float) -> None:
        """Send a line. Raises OSError."""
        self.socket.settimeout(patience_s)
        self.socket.sendall(line + b"\n")

    def lines(self, patience_s: float, in_all_s: float | None) -> Iterator[bytes]:
        """The lines that come; each has to be whole within `patience_s` of the one before, and all within `in_all_s`.

        Raises TimeoutError, OSError, and ValueError where a line is longer than any answer.
        """
        most = _ANSWER_MOST if self.is_ours else _ANOTHERS_MOST
        end = None if in_all_s is None else time.monotonic() + in_all_s
        data = bytearray()
        while True:
            deadline = time.monotonic() + patience_s
            if end is not None:
                deadline = min(deadline, end)
            searched = 0
            while (at := data.find(b"\n", searched)) < 0:
                searched = len(data)
                more = self._receive(deadline)
                if not more:
                    return
                data += more
                if len(data) > most:
                    raise ValueError(f"it says more than {most >> 20} MiB at once")
            line = bytes(data[:at])
            del data[: at + 1]
            yield line

    def _receive(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        return self.socket.recv(1 << 20)


def _connect(store: Path, owner: int) -> socket.socket:
    """Follows no link in the store's place, nor in that of the socket. Raises OSError, NoAnswer."""
    try:
        directory = open_directory(store)
    except OSError as error:
        raise NoAnswer(f"cannot open the store {store}: {error.strerror}") from error
    try:
        return _connect_in(directory, store, owner)
    finally:
        os.close(directory)


def _connect_in(directory: int, store: Path, owner: int) -> socket.socket:
    if (uid := os.fstat(directory).st_uid) != owner:
        raise NoAnswer(f"the store {store} belongs to user {uid}; the view to user {owner}")
    place = os.open("control.sock", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if not stat.S_ISSOCK(os.fstat(place).st_mode):
            raise NoAnswer(f"{store}/control.sock is no socket")
        talker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The kernel's own limit: it waits for a place in a queue that is full, which Python's does not.
            talker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SECONDS.pack(int(_CONNECT_S), 0))
            talker.connect(f"/proc/self/fd/{place}")
        except BlockingIOError as error:
            talker.close()
            raise TimeoutError from error
        except BaseException:
            talker.close()
            raise
        return talker
    finally:
        os.close(place)


def _connect_in_child(store: Path, owner: int) -> socket.socket:
    """For another user's store: the way to it may lead through a filesystem that never answers, and whoever waits for
    such a one cannot be ended. So a child goes it, without following links, and hands the connection over."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            child = os.fork()
            if child == 0:
                _hand_over(theirs, store, owner)
        waiting = select.poll()
        waiting.register(ours, select.POLLIN)
        try:
            if not waiting.poll(_CONNECT_S * 1000):
                raise TimeoutError
            message, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(4))
        finally:
            _end(child)
    received = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[:4])
    if not received:
        raise NoAnswer(os.fsdecode(message) or f"the store {store} cannot be asked")
    return socket.socket(fileno=received[0])


def _hand_over(theirs: socket.socket, store: Path, owner: int) -> None:
    """In the child: connect, and send the connection, or why there is none."""
    try:
        try:
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
            directory = syscalls.openat2(_AT_FDCWD, os.fsencode(store), flags, 0, syscalls.RESOLVE_NO_SYMLINKS)
            talker = _connect_in(directory, store, owner)
            theirs.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [talker.fileno()]))])
        except NoAnswer as error:
            theirs.send(os.fsencode(str(error))[:4096])
        except OSError as error:
            theirs.send(os.fsencode(f"no daemon answers for the store {store}: {error.strerror or error}")[:4096])
    finally:
        os._exit(0)


def _end(child: int) -> None:
    """End a child; it is not waited for where not even that ends it."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, os.WNOHANG)
