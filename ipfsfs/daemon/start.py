"""Starting a daemon and waiting for its word."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ipfsfs.daemon.codec import decode
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.failure import Failure
from ipfsfs.errors import MountError
from ipfsfs.printed import CALLED_AS, lasting_program

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

_PATIENCE_S: Final = 60.0


@dataclass(slots=True, frozen=True)
class Started:
    """A daemon that serves: its process, what was agreed with the kernel, and why it is degraded (empty if not).
    `not_native`: why the kernel reads no files past it; empty where it does."""

    pid: int
    features: tuple[str, ...]
    degraded: str
    not_native: str

    @classmethod
    def of(cls, running: Running) -> Started:
        """What this process, which serves a view, has to tell."""
        reads = running.view.native.usually()
        not_native = "" if reads.native else reads.why
        return cls(os.getpid(), tuple(running.features), running.view.seals.degraded, not_native)


def start(config: Config) -> Started:
    """Start a daemon in a session of its own; returns when the view answers. Raises MountError where
    it says nothing, and the error that it met."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # the arguments are ours
            [sys.executable, "-P", "-m", "ipfsfs.daemon", config.to_json(), str(writing)],
            stdin=subprocess.DEVNULL,
            pass_fds=[writing],
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        os.close(writing)
        try:
            answer = _read_answer(reading, process)
        except KeyboardInterrupt:  # which a terminal sends to our session alone
            process.terminate()
            process.wait()
            raise
    finally:
        os.close(reading)
    if "ready" in answer:
        # It is to outlive us: nobody will wait for it here.
        process.returncode = 0
        return decode(Started, answer["ready"])
    process.wait()
    raise decode(Failure, answer).as_error()


def _environment() -> dict[str, str]:
    """Ours, with a PYTHONPATH, and a name of this program, that mean the same in another directory, and without the
    journal: it logs to a file."""
    ours = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    ours[CALLED_AS] = lasting_program()
    path = ours.get("PYTHONPATH")
    if not path:
        return ours
    return {**ours, "PYTHONPATH": os.pathsep.join(os.path.abspath(part) for part in path.split(os.pathsep))}


def _read_answer(fd: int, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    data = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN | select.POLLHUP)
    while not data.endswith(b"\n"):
        if not poll.poll(_PATIENCE_S * 1000):
            process.kill()
            raise MountError(f"the daemon did not answer within {_PATIENCE_S:.0f} s and was ended")
        more = os.read(fd, 65_536)
        if not more:
            raise MountError(f"the daemon ended before it was ready (exit code {process.wait()})")
        data += more
    answer: dict[str, Any] = json.loads(data)
    return answer
