"""Starting a worker process: what it inherits, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ipfsfs

_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME")


# Without site (-S): what we import is found where this process found it, and nothing else is run. Without writing
# bytecode (-B): nothing of ours is to write anywhere.
_PYTHON: Final = ("-S", "-P", "-B", "-m")


@dataclass(slots=True, frozen=True)
class Command:
    """What to run. `module` is run as a program, and gets as arguments: the numbers of the descriptors `inherited`, of
    the pipe its requests come from, and of the one its results go to; then `arguments`.

    `name`: what the process is called in words, in `status` and the log. `temporary`: its TMPDIR.
    """

    name: str
    module: str
    inherited: tuple[int, ...]
    arguments: tuple[str, ...]
    temporary: bytes


@dataclass(slots=True, frozen=True)
class StartedProcess:
    """A running process, and our ends of its pipes: where requests go, where results and complaints come from."""

    process: subprocess.Popen[bytes]
    requests: int
    results: int
    complaints: int


def start(command: Command) -> StartedProcess:
    """Start a worker process. Raises OSError.

    By exec, with no descriptors but those of `command` and its pipes (H3), and with a home and a temporary directory
    that are not below the mount (H7). To be called from the main thread: the process dies with the thread that started
    it.
    """
    theirs: list[int] = []
    ours: list[int] = []
    try:
        for towards in (True, False, False):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            theirs.append(reading if towards else writing)
            ours.append(writing if towards else reading)
        requests, results, complaints = theirs
        inherited = (*command.inherited, requests, results)
        process = subprocess.Popen(
            [sys.executable, *_PYTHON, command.module, *map(str, inherited), *command.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=inherited,
            cwd="/",
            env=_environment(command.temporary),
            start_new_session=True,
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return StartedProcess(process, *ours)


def _environment(temporary: bytes) -> dict[bytes, bytes]:
    paths = [str(Path(ipfsfs.__file__).resolve().parents[1]), *(path for path in sys.path if os.path.isabs(path))]
    kept = {os.fsencode(name): os.fsencode(os.environ[name]) for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, b"HOME": b"/", b"TMPDIR": temporary, b"PYTHONPATH": os.fsencode(os.pathsep.join(paths))}
