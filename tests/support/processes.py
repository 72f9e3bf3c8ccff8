"""The processes beside a daemon: its guardian and its sealers, found by what they were started with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def beside(module: str, *words: str) -> list[int]:
    """Processes running a module of ipfsfs whose arguments begin with these words."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            arguments = _arguments(int(pid))
            if f"ipfsfs.{module}" in arguments:
                at = arguments.index(f"ipfsfs.{module}") + 1
                if arguments[at : at + len(words)] == list(words):
                    found.append(int(pid))
    return found


def guardians_of(daemon: int) -> list[int]:
    """The guardian of a daemon, also when that is gone."""
    return beside("daemon.guardian", str(daemon))


def sealers_of(daemon: int, manners: str = "") -> list[int]:
    """The sealing processes of a daemon that is alive; only the "polite" or the "prompt" one if asked."""
    found = [pid for pid in beside("workers.sealer.worker") if parent(pid) == daemon]
    return [pid for pid in found if not manners or manners in _arguments(pid)]


def fetchers_of(daemon: int) -> list[int]:
    """The fetching process of a daemon that is alive, if one was started."""
    return [pid for pid in beside("workers.fetcher.program") if parent(pid) == daemon]


def keepers_of(daemon: int) -> list[int]:
    """The keeping process of a daemon that is alive, if there is one."""
    return [pid for pid in beside("workers.keeper.program") if parent(pid) == daemon]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Processes that do nothing while the block runs."""
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def eventually(true: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Return when something is true; fails the test, with `what`, when that does not happen in time."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)


def wait_for_guardian(daemon: int, within_s: float = 10.0) -> None:
    """Return when the guardian of a daemon that is gone has gone as well."""
    eventually(lambda: not guardians_of(daemon), f"the guardian of {daemon} goes", within_s)


def wait_until_unused(directory: Path, within_s: float = 15.0) -> None:
    """Return when no daemon, guardian or worker of anything below a directory is there: its disk can be unmounted.

    They end with their daemon, but some time after it where the processor is busy: a sealer takes what others leave.
    """

    def users() -> list[int]:
        pids = [*beside("daemon"), *beside("daemon.guardian")]
        named = [pid for pid in pids if any(f"{directory}/" in argument for argument in _arguments(pid))]
        kinds = ("sealer.worker", "fetcher.program", "keeper.program")
        workers = [pid for kind in kinds for pid in beside(f"workers.{kind}")]
        return [*named, *(pid for pid in workers if _holds(pid, directory))]

    eventually(lambda: not users(), f"nothing uses {directory}", within_s)


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace").split("\0")
    except OSError:
        return []


def descriptors(pid: int) -> dict[Path, str]:
    """What a process has open: its descriptors, as paths in `/proc`, and the name of what each is of. What it closes
    meanwhile is left out.

    Raises:
        OSError: the process has ended, or is not ours to look at.
    """
    held = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            held[entry] = os.readlink(entry)
    return held


def _holds(pid: int, directory: Path) -> bool:
    """Whether a process has something open below a directory, or ended while we looked, which is looked at again."""
    try:
        return any(name.startswith(f"{directory}/") for name in descriptors(pid).values())
    except OSError:
        return Path(f"/proc/{pid}").exists()


def parent(pid: int) -> int:
    """The parent of a process; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def processor_s(pid: int) -> float:
    """How much of the processors' time a process has taken, all its threads together (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)
