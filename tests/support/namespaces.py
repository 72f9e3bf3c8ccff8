"""Namespaces of the kernel as computers: each with its own network, table of mounts, processes and host name.

All that a computer has ends with its first process, whatever runs there: that process ends when the test that made it
does, be it killed. Nothing else is left anywhere: no name below `/run/netns`, no interface, no mount, no daemon. Only
root can make them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from tests.support.processes import parent

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_FIRST: Final = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what it inherits is reaped by the kernel
sys.stdout.write("\\n")
sys.stdout.flush()
sys.stdin.read()
"""


@dataclass(slots=True)
class Computer:
    """A set of namespaces. `pid`: its first process, as seen from here; when that is killed all others die with it."""

    name: str
    _first: subprocess.Popen[str] = field(repr=False)
    pid: int

    @classmethod
    def start(cls, name: str) -> Computer:
        """Make one, which has a loopback interface and no other. Raises OSError and CalledProcessError."""
        kinds = ("--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")
        first = subprocess.Popen(
            ["unshare", *kinds, sys.executable, "-I", "-S", "-c", _FIRST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert first.stdout is not None
        first.stdout.readline()
        (pid,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
        made = cls(name, first, pid)
        made.run("hostname", name)
        made.run("ip", "link", "set", "lo", "up")
        return made

    def entered(self, *command: str | Path, directory: Path | None = None) -> list[str]:
        """A command line that runs another one there, in a directory. What it starts dies with the thread that did."""
        where = ["env", f"--chdir={directory}"] if directory is not None else []
        kinds = ("--net", "--mount", "--uts", "--ipc", "--pid")
        # nsenter(1) waits for what it runs, and stops when that does. Until it ends, so does not what it entered.
        enter = ["setpriv", "--pdeathsig=KILL", "nsenter", f"--target={self.pid}", *kinds, "--"]
        return [*enter, *where, *map(str, command)]

    def run(self, *command: str | Path) -> str:
        """Run a command there and return what it says. Raises CalledProcessError."""
        done = subprocess.run(self.entered(*command), check=True, capture_output=True, text=True)
        return done.stdout

    def in_network(self, function: Callable[[], T]) -> T:
        """Call a function whose sockets are made in the network there."""
        return in_network(self.pid, function)

    def processes(self) -> list[int]:
        """All that runs there but the first, as seen from here."""
        space = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and int(name) != self.pid and os.readlink(f"/proc/{name}/ns/pid") == space:
                    found.append(int(name))
            except OSError:  # it has ended, or is about to
                continue
        return found

    def end(self) -> None:
        """End all that runs there, at once, as when the current goes. Returns when it has."""
        for pid in {parent(pid) for pid in self.processes()} - {self.pid, os.getpid(), *self.processes()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._first.kill()  # takes the first process with it, and that all others
        self._first.wait()
        for stream in (self._first.stdin, self._first.stdout):
            assert stream is not None
            stream.close()


def in_network(pid: int, function: Callable[[], T]) -> T:
    """Call a function in a thread that is in the network of another process. Raises what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            enter_network(pid)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def enter_network(pid: int) -> None:
    """Have the calling thread be in the network of another process. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(space, _CLONE_NEWNET) != 0:  # Python's own is of 3.12
            raise OSError(ctypes.get_errno(), "the network cannot be entered")
    finally:
        os.close(space)


def ip(pid: int, *words: str | int, kind: Sequence[str] = ("ip",)) -> None:
    """Run ip(8), or tc(8), in the network of a process; numbers of processes are those from here.

    Raises AssertionError with what it said."""
    command = ["nsenter", f"--target={pid}", "--net", "--", *kind, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
