"""Starting the sealing process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import ipfsfs

Manners = Literal["polite", "prompt"]
"""Whether a process takes only what nobody else wants of processor and disk, or its share like everyone. One process
cannot be both: to become idle is anyone's right, to come back takes CAP_SYS_NICE."""

_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME")


# Without site (-S): what we import is found where this process found it, and nothing else is run. Without writing
# bytecode (-B): nothing of ours is to write anywhere.
_PYTHON: Final = ("-S", "-P", "-B", "-m", "ipfsfs.sealer.worker")


@dataclass(slots=True, frozen=True)
class Started:
    """A running process, and our ends of its pipes: where requests go, where results and complaints come from."""

    process: subprocess.Popen[bytes]
    requests: int
    results: int
    complaints: int


def start(root_fd: int, manners: Manners, temporary: bytes) -> Started:
    """Start a sealing process for the plain root. Raises OSError.

    By exec, with no descriptors but the root and its pipes (H3), and with a home and a temporary directory that are not
    below the mount (H7). To be called from the main thread: the process dies with the thread that started it.
    """
    theirs: list[int] = []
    ours: list[int] = []
    try:
        for towards in (True, False, False):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            theirs.append(reading if towards else writing)
            ours.append(writing if towards else reading)
        requests, results, complaints = theirs
        process = subprocess.Popen(
            [sys.executable, *_PYTHON, str(root_fd), str(requests), str(results), manners],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=(root_fd, requests, results),
            cwd="/",
            env=_environment(temporary),
            start_new_session=True,
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return Started(process, *ours)


def _environment(temporary: bytes) -> dict[bytes, bytes]:
    paths = [str(Path(ipfsfs.__file__).resolve().parents[1]), *(path for path in sys.path if os.path.isabs(path))]
    kept = {os.fsencode(name): os.fsencode(os.environ[name]) for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, b"HOME": b"/", b"TMPDIR": temporary, b"PYTHONPATH": os.fsencode(os.pathsep.join(paths))}
