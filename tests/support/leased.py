"""A view on a machine of which a test says what other machines download, and clients that wait at its locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ipfsfs.daemon.config import Config, SiteConfig
from tests.support.mounted import environment
from tests.support.own_daemon import OwnDaemon
from tests.support.processes import eventually, keepers_of

REPO = "models--org--name"
_CLIENT = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1], mode=0o664)
print("begins", flush=True)
lock.acquire()
print("has it", flush=True)
sys.stdin.readline()
lock.release()
"""


def digest(name: str) -> str:
    """A sha256, told from others by a word."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(slots=True)
class LeasedView(OwnDaemon):
    """A view whose daemon is told by files what other machines download."""

    allow_other: bool = False
    within: float = 2.0
    """How long an open may wait, and a lock be held that no client asks for: longer than with users, for the machine
    of the tests is busy."""
    program: tuple[str, ...] = (sys.executable,)
    """What starts Python: as another user, be it."""
    env: dict[str, str] = field(default_factory=environment)

    @property
    def leases(self) -> Path:
        """The directory with a file for each lease of another machine."""
        return self.path.with_name(self.path.name + ".leases")

    @property
    def locks(self) -> Path:
        """The locks of one repository."""
        return self.path / "hub" / ".locks" / REPO

    @property
    def blobs(self) -> Path:
        """The blobs of the same."""
        return self.path / "hub" / REPO / "blobs"

    @property
    def keeper(self) -> int:
        """The process that keeps locks."""
        (pid,) = keepers_of(self.pid)
        return pid

    def mount(self) -> LeasedView:
        """As users mount, but for where it is known from what other machines do."""
        self.leases.mkdir(exist_ok=True)
        config = Config(
            self.path, self.store, allow_other=self.allow_other, site=SiteConfig(peers="127.0.0.1:1"), hub=None
        )
        module = "tests.support.leased_daemon"
        self.start([*self.program, "-m", module, config.to_json(), self.leases, str(self.within)], self.env)
        return self

    def with_repository(self) -> LeasedView:
        """Make the directories that the client makes."""
        self.locks.mkdir(parents=True)
        self.blobs.mkdir(parents=True)
        return self

    def lease(self, sha256: str) -> None:
        """Another machine downloads a blob from now on."""
        (self.leases / sha256).touch()

    def end(self, sha256: str) -> None:
        """It does so no longer."""
        (self.leases / sha256).unlink()

    def lock(self, sha256: str) -> Path:
        """The lock file of a blob."""
        return self.locks / f"{sha256}.lock"


@dataclass(slots=True)
class Client:
    """A client's process that takes a lock by the library that huggingface_hub takes it by."""

    process: subprocess.Popen[bytes]
    """Its output is not buffered here: of what is in a buffer `select` knows nothing."""

    def has_it(self, within_s: float) -> bool:
        """Whether it gets the lock within so long."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within_s)
        return bool(ready) and self.process.stdout.readline() == b"has it\n"

    def let_go(self) -> None:
        """Have it release the lock and end."""
        self.process.communicate(b"\n", timeout=20)

    def interrupt(self) -> float:
        """Ctrl-C; returns how long it took to end, in seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=20)
        return time.monotonic() - began


@contextmanager
def client(lock: Path) -> Iterator[Client]:
    """A client that has begun to ask for a lock; it is gone when the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLIENT, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begins\n"
            yield Client(process)
        finally:
            process.kill()


def kept_by(pid: int) -> int:
    """How many locks a process holds, by the kernel's word."""
    with open("/proc/locks", encoding="ascii") as locks:
        return sum(fields[1] == "FLOCK" and fields[4] == str(pid) for fields in map(str.split, locks))


def let_go_of_all(keeper: int, within_s: float = 10.0) -> None:
    """Return when a keeper holds no lock, and nothing of the view."""
    eventually(lambda: not kept_by(keeper), "the keeper lets go", within_s)


def is_taken(lock: Path, flags: int = 0) -> bool:
    """Open a lock file and ask for its lock as a client does: whether another process has it."""
    fd = os.open(lock, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | flags, 0o664)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
