"""The guardian: a small process beside the daemon that gives the path back when the daemon dies or hangs (H4, H5).

It is started by exec with nothing of the FUSE connection open (H3), before there is anything to guard, and stays when
the daemon is killed. It unmounts views of this store only, and only while it holds the store's lock: whoever else holds
that is alive, so a successor's mount is never touched. It asks the view for a sign of life now and then, in a child,
since the question itself may hang.

It waits with poll(2) and nothing else, so that it stays as small as an interpreter can be.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint
from ipfsfs.plain import syscalls

BEAT_S: Final = 15.0
"""How often the view is asked for a sign of life."""
PATIENCE_S: Final = 120.0
"""How long it may take to answer: longer than a disk that stalls, which would stall plain disk as well."""
_LOCK_S: Final = 10.0
_POLL_S: Final = 0.05


@dataclass(slots=True, frozen=True)
class Ward:
    """What is guarded."""

    pid: int
    mountpoint: Path
    store: Path

    @property
    def mount(self) -> mounts.Mount | None:
        """The view that is to be guarded, wherever it is by now (a directory above it may have another name), if it is
        there and nothing is mounted over it."""
        topmost = {mount.mountpoint: mount for mount in mounts.all_mounts()}
        views = [mount for mount in topmost.values() if mount.is_view and mount.store == self.store]
        return next((view for view in views if view.mountpoint == self.mountpoint), views[-1] if views else None)


def guard(ward: Ward) -> None:
    """Watch until the daemon is gone, then give the path back."""
    try:
        daemon = os.pidfd_open(ward.pid)
    except ProcessLookupError:
        give_back(ward)
        return
    gone = select.poll()
    gone.register(daemon, select.POLLIN)
    while not gone.poll(BEAT_S * 1000):
        view = ward.mount
        if view is not None and not _sign_of_life(view, gone):
            _abort(ward, view)
            gone.poll(5000)
            break
    give_back(ward)


def _sign_of_life(view: mounts.Mount, gone: select.poll) -> bool:
    """Ask the view something that needs no disk. False when there is no answer in time."""
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            os.statvfs(view.mountpoint)
        os._exit(0)
    asked = os.pidfd_open(child)
    try:
        gone.register(asked, select.POLLIN)
        answered = bool(gone.poll(PATIENCE_S * 1000))
        gone.unregister(asked)
        if answered:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return answered
    finally:
        os.close(asked)


def _abort(ward: Ward, view: mounts.Mount) -> None:
    """End a connection whose daemon answers nothing: through fusectl where it is mounted, and by its end."""
    sys.stderr.write(
        f"ipfsfs: the view of {ward.mountpoint} has not answered for {PATIENCE_S:.0f} s: "
        "it is ended, the path becomes the plain directory\n"
    )
    with suppress(OSError):
        Path(f"/sys/fs/fuse/connections/{os.minor(view.device)}/abort").write_text("1")
    with suppress(ProcessLookupError):
        os.kill(ward.pid, signal.SIGKILL)


def give_back(ward: Ward) -> None:
    """Unmount what a dead daemon left, unless a successor is at it."""
    deadline = time.monotonic() + _LOCK_S
    while ward.mount is not None and time.monotonic() < deadline:
        lock = -1
        try:
            with suppress(FileNotFoundError):
                lock = os.open(ward.store / "lock", os.O_RDWR | os.O_CLOEXEC)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (view := ward.mount) is not None:
                mountpoint.unmount(view.mountpoint, lazy=True)
        except (BlockingIOError, MountError):
            time.sleep(_POLL_S)
        finally:
            if lock >= 0:
                os.close(lock)


def main() -> None:
    """`python -m ipfsfs.daemon.guardian PID MOUNTPOINT STORE`."""
    syscalls.name_process(b"ipfsfs-guardian")
    os.chdir("/")
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pid, path, store = sys.argv[1:4]
    guard(Ward(int(pid), Path(path), Path(store)))


if __name__ == "__main__":
    main()
