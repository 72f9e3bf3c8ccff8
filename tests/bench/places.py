"""The places that are compared: plain disk, the bare passthrough and ipfsfs, with the same files in each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status
from tests.bench import processes
from tests.bench.client import ROOT
from tests.bench.row import BARE, PLAIN, VIEW
from tests.support.mounted import Mounted, clear, environment

READ_AHEAD_KIB: Final = 4096
"""What ipfsfs sets for its own mount as root, and what the bare passthrough is given too."""
USERS_READ_AHEAD_KIB: Final = 128
"""The kernel's default, which an ordinary user's mount keeps."""
_PATIENCE_S: Final = 60.0
_ROOT: Final = os.geteuid() == 0
_UMOUNT: Final = ("umount",) if _ROOT else ("fusermount3", "-u")
_SEALED_S: Final = 600.0
_GOING_S: Final = 2.0


@dataclass(slots=True)
class Place:
    """Plain disk, and what all places have. `root` is where clients look."""

    root: Path
    name: ClassVar[str] = PLAIN

    @property
    def plain(self) -> Path:
        """The plain directory, to be filled before mounting."""
        return self.root

    @property
    def beneath(self) -> Path:
        """The plain directory, whatever is mounted over it."""
        return self.root

    @property
    def daemon(self) -> int | None:
        """The process that answers requests."""
        return None

    @property
    def sealers(self) -> list[int]:
        """The processes that work beside it."""
        return []

    @property
    def busy(self) -> bool:
        """Whether something is known to be still to do behind the requests."""
        return False

    def mount(self) -> None:
        """Begin to serve; returns when the first request was answered."""

    def umount(self) -> None:
        """Serve no more, if it was."""

    def remount(self) -> None:
        """Have the kernel know nothing of what is in the place."""

    def close(self) -> None:
        """Leave nothing mounted, whatever happened."""


@dataclass(slots=True)
class Bare(Place):
    """The passthrough of `tests.bench.passthrough`."""

    name: ClassVar[str] = BARE
    _process: subprocess.Popen[bytes] | None = None

    @property
    def plain(self) -> Path:
        return self.root.with_name(self.root.name + ".plain")

    @property
    def beneath(self) -> Path:
        return self.plain

    @property
    def daemon(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def mount(self) -> None:
        self.root.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.bench.passthrough", self.plain, self.root],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        deadline = time.monotonic() + _PATIENCE_S
        while not os.path.ismount(self.root):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the passthrough did not mount")
            time.sleep(0.005)
        set_read_ahead(self.root, READ_AHEAD_KIB)

    def umount(self) -> None:
        if self._process is None:
            return
        subprocess.run([*_UMOUNT, self.root], check=True, capture_output=True)
        try:
            self._process.wait(_GOING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # somebody's mount namespace has a copy of the mount
            self._process.wait()
        self._process = None

    def remount(self) -> None:
        self.umount()
        self.mount()

    def close(self) -> None:
        if self._process is not None:
            subprocess.run([*_UMOUNT, "-l" if _ROOT else "-z", self.root], check=False, capture_output=True)
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass(slots=True)
class View(Place):
    """ipfsfs, checking on, with a store beside the place."""

    name: ClassVar[str] = VIEW
    arguments: tuple[str, ...] = ()
    """Those of `ipfsfs mount`."""
    _mounted: Mounted = field(init=False)
    _fd: int = -1

    def __post_init__(self) -> None:
        self._mounted = Mounted(self.root, self.arguments)

    @property
    def beneath(self) -> Path:
        return Path(f"/proc/{os.getpid()}/fd/{self._fd}")

    @property
    def daemon(self) -> int | None:
        return self._mounted.pid or None

    @property
    def sealers(self) -> list[int]:
        return processes.children(self._mounted.pid) if self._mounted.pid else []

    @property
    def store(self) -> Path:
        return self._mounted.store

    @property
    def busy(self) -> bool:
        if not self._mounted.pid:
            return False
        said = self.status()
        if said.degraded or said.rot or said.broken_promises:
            raise RuntimeError(f"ipfsfs is not well: {said}")
        return said.unsealed > 0 or not said.looked_at_everything

    def status(self) -> status.Answer:
        """What `ipfsfs status` says, without a process of its own."""
        return ask(self.store, status.Question(), patience_s=_PATIENCE_S)

    def mount(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        self._mounted.mount()

    def seal(self, below: str = "") -> seal.Answer:
        """Have everything below a path sealed, as `ipfsfs seal` does; returns what that says."""
        return ask(self.store, seal.Question(os.fsencode(below)), patience_s=_SEALED_S)

    def start_sealing(self, below: str) -> subprocess.Popen[bytes]:
        """`ipfsfs seal`, to be killed when it has sealed long enough."""
        return subprocess.Popen(
            [sys.executable, "-m", "ipfsfs", "seal", self.root / below],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def umount(self) -> None:
        if self._mounted.pid:
            self._mounted.umount()
            self._mounted.pid = 0

    def remount(self) -> None:
        self.umount()
        self.mount()

    def close(self) -> None:
        daemon = self._mounted.pid
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.umount()
        clear(self.root)
        if self._mounted.pid:
            with suppress(ProcessLookupError):
                os.kill(daemon, signal.SIGKILL)
            self._mounted.pid = 0
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """Remove the store of a place that is not mounted."""
        shutil.rmtree(self.store, ignore_errors=True)


def set_read_ahead(mountpoint: Path, kib: int) -> None:
    """How far the kernel reads ahead on a mount. Only root can set it; others keep the 128 KiB they have."""
    dev = mountpoint.stat().st_dev
    with suppress(PermissionError):
        Path(f"/sys/class/bdi/{os.major(dev)}:{os.minor(dev)}/read_ahead_kb").write_text(str(kib))
