"""The keeping process: opens lock files through the view, and holds flocks on them until it is told to let go.

Started as `python -m ipfsfs.workers.keeper.program REQUESTS RESULTS MOUNTPOINT`: two inherited descriptors, of the
pipes, and where the view is. It opens nothing but what it is told to open at the root of the view, holds nothing else,
and ends when the pipe of requests does.

Its calls wait for the daemon, which answers them while it waits for this process: it makes no other call to the view.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.plain import syscalls
from ipfsfs.workers import wire
from ipfsfs.workers.wire import Header

_READ: Final = 1 << 16
_MOST: Final = 512
"""Locks that are held at once; a client whose lock is one more downloads by itself."""
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(slots=True)
class Program:
    """The locks of the process, by the numbers of the jobs that they were taken for."""

    mountpoint: bytes
    requests: int
    results: int
    _held: dict[int, int] = field(default_factory=dict)
    _used: list[bytes] = field(default_factory=list)
    """Paths that were opened, and that the kernel is to forget."""

    def run(self) -> None:
        """Work until the pipe of requests ends."""
        decoder = wire.Decoder()
        more = select.poll()
        more.register(self.requests, select.POLLIN)
        while data := os.read(self.requests, _READ):
            for header, _ in decoder.feed(data):
                self._take(header)
            if self._used and not more.poll(0):
                self._forget_names()

    def _take(self, header: Header) -> None:
        number, so = header["id"], True
        match header["do"]:
            case "keep":
                so = self._keep(number, wire.path(header["name"]))
            case "drop":
                self._drop(header["of"])
            case "drop all":
                for held in list(self._held):
                    self._drop(held)
            case "cancel":
                return
        self._send({"id": number, "so": so})

    def _keep(self, number: int, name: bytes) -> bool:
        """Take the lock of the file at a name; whether that was free, and could be had."""
        if len(self._held) >= _MOST:
            return False
        path = os.path.join(self.mountpoint, name)
        try:
            fd = os.open(path, _FLAGS)
        except OSError:
            return False
        self._used.append(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._held[number] = fd
        return True

    def _drop(self, number: int) -> None:
        fd = self._held.pop(number, -1)
        if fd >= 0:
            os.close(fd)

    def _forget_names(self) -> None:
        """Have the kernel see that names are gone: until it does, it holds on to the lock files behind them."""
        for path in self._used:
            with suppress(OSError):
                os.lstat(path)
        self._used.clear()

    def _send(self, header: Header) -> None:
        os.write(self.results, wire.encode(header))


def main(arguments: list[str]) -> None:
    """Run the process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    syscalls.signal_at_parents_end(signal.SIGKILL)
    syscalls.name_process(b"ipfsfs-keeper")
    requests, results, mountpoint = arguments
    with suppress(BrokenPipeError):
        Program(os.fsencode(mountpoint), int(requests), int(results)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
