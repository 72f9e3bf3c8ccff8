"""The guardian: a small process beside the daemon that gives the path back when the daemon dies or hangs (H4, H5).

It is started by exec with nothing of the FUSE connection open (H3), before there is anything to guard, and stays when
the daemon is killed. The daemon tells it, by a line on its stdin, which mount it guards, and when the path was given
back on purpose. It asks that mount for a sign of life now and then, in a child, since the question itself may hang; it
ends its own daemon only when that very mount does not answer, and unmounts nothing else. It unmounts under the store's
lock, which a successor holds for as long as it is starting or has the path.

An end that nobody asked for is logged and noted in the store (`ipfsfs.daemon.endings`); if the view was mounted with
`--restart`, the daemon is then started again.

It waits with poll(2) and nothing else, so that it stays as small as an interpreter can be.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ipfsfs.daemon import endings, mounts
from ipfsfs.daemon.log_lines import say
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint
from ipfsfs.plain import syscalls

BEAT_S: Final = 15.0
"""How often the view is asked for a sign of life."""
PATIENCE_S: Final = 120.0
"""How long it may take to answer: longer than a disk that stalls, which would stall plain disk as well."""
_ENDING_S: Final = 1.0
"""How long a daemon may take to end that has begun to, unless it waits for a disk."""
_LOCK_S: Final = 10.0
_POLL_S: Final = 0.05

Phase = Literal["mounting", "mounted", "over", "failed", "released"]
"""What the daemon said last: nothing yet; that its view is mounted; that it gave the path back on purpose; that it met
an error it cannot go on with; that nothing is left to guard."""


@dataclass(slots=True)
class Ward:
    """What is guarded: a daemon, and the mount that it named."""

    pid: int
    config: str
    """The daemon's configuration, as JSON: all of it matters only when another is started."""
    store_fd: int
    phase: Phase = "mounting"
    mount_id: int = -1
    device: int = -1
    silent: bool = False
    """Whether it was ended here, for it did not answer."""
    _heard: bytes = b""

    @property
    def mountpoint(self) -> Path:
        """Where the daemon was to mount."""
        return Path(json.loads(self.config)["mountpoint"])

    @property
    def to_be_restarted(self) -> bool:
        """Whether the view was mounted with `--restart`."""
        return "restarts" in json.loads(self.config)

    def mount(self) -> mounts.Mount | None:
        """The view that the daemon mounted, if it is there still.

        A daemon that was ended before it could name it left at most a dead view of this user with this store. The
        store is compared in any case: once a mount is gone the kernel gives its number away, and its filesystem's too.
        """
        store = json.loads(self.config)["store"]
        ours = [view for view in mounts.views() if view.source == store and not view.is_of_another]
        if self.phase == "mounting":
            return next((view for view in ours if mounts.is_reached(view)), None)
        numbers = self.mount_id, self.device
        return next((view for view in ours if (view.mount_id, view.device) == numbers), None)

    def listen(self, fd: int) -> bool:
        """Take in what the daemon says; false when it says no more."""
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            return True
        self.hear(data)
        return bool(data)

    def hear(self, data: bytes) -> None:
        """Take in what it has said, or a part of it."""
        self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            match line.split():
                case [b"mounted", mount_id, device]:
                    self.phase, self.mount_id, self.device = "mounted", int(mount_id), int(device)
                case [b"over"]:
                    self.phase = "over"
                case [b"failed"]:
                    self.phase = "failed"
                case [b"released"]:
                    self.phase = "released"


def guard(ward: Ward, told: int, woken: int) -> None:
    """Watch until the daemon is gone, then give the path back; `told` is where the daemon speaks, `woken` what is ready
    when its first thread ends."""
    daemon = -1
    with suppress(ProcessLookupError):
        daemon = os.pidfd_open(ward.pid)
        _watch(ward, told, woken, daemon)
    while ward.listen(told) and select.select([told], [], [], 0)[0]:
        pass
    if ward.phase != "released":
        _after(ward, daemon)


def _watch(ward: Ward, told: int, woken: int, daemon: int) -> None:
    """Until the daemon has ended or needs no guardian, or was ended for it does not answer."""
    waiting = select.poll()
    for fd in (daemon, told, woken):
        waiting.register(fd, select.POLLIN)
    while not _is_ending(ward.pid):
        ready = dict(waiting.poll(BEAT_S * 1000))
        if daemon in ready:
            return
        if woken in ready:
            os.read(woken, 64)
        if told in ready:
            if not ward.listen(told):
                waiting.unregister(told)
            if ward.phase == "released":
                return
        elif not ready and ward.phase == "mounted" and not _answers(ward, told, woken, daemon):
            _abort(ward, daemon)
            return
    _see_to_its_end(ward, daemon)


def _woken_by_daemons_end() -> int:
    """What is ready when the thread that started this process ends, whatever other threads of it wait for: the
    descriptor of a process is not, before all of them have ended."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    syscalls.signal_at_parents_end(signal.SIGUSR1)
    return woken


def _is_ending(pid: int) -> bool:
    """Whether a process has ended, but for threads that may wait for a disk."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
    except OSError:  # for want of descriptors or memory: it is looked at again
        return False


def _see_to_its_end(ward: Ward, daemon: int) -> None:
    """A thread that waits for a disk keeps the connection: nobody in the view would be answered until that does."""
    if not select.select([daemon], [], [], _ENDING_S)[0]:
        say("ERROR", f"the daemon of {ward.mountpoint} was ended while it waits for a disk: its view is broken off")
        _break_off(ward)


def _answers(ward: Ward, told: int, woken: int, daemon: int) -> bool:
    """Whether the view needs nothing from us: it answers, or it is not there any more, or its path leads elsewhere."""
    view = ward.mount()
    if view is None or not mounts.is_reached(view) or _sign_of_life(view, woken, daemon):
        return True
    ward.listen(told)
    return ward.phase != "mounted" or ward.mount() is None


def _sign_of_life(view: mounts.Mount, woken: int, daemon: int) -> bool:
    """Ask the view something that needs no disk. False when there is no answer in time; the daemon's end is one."""
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            os.statvfs(view.mountpoint)
        os._exit(0)
    asked = os.pidfd_open(child)
    try:
        waiting = select.poll()
        for fd in (asked, woken, daemon):
            waiting.register(fd, select.POLLIN)
        ready = dict(waiting.poll(PATIENCE_S * 1000))
        if ready:
            os.kill(child, signal.SIGKILL)
        if asked in ready or daemon in ready:
            os.waitpid(child, 0)
        return bool(ready)
    finally:
        os.close(asked)


def _abort(ward: Ward, daemon: int) -> None:
    """End a daemon that answers nothing, and its connection."""
    say(
        "ERROR",
        f"the view of {ward.mountpoint} has not answered for {PATIENCE_S:.0f} s: "
        "its daemon is ended, the path becomes the plain directory",
    )
    ward.silent = True
    _break_off(ward)
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(daemon, signal.SIGKILL)
    select.select([daemon], [], [], 5)


def _break_off(ward: Ward) -> None:
    """Through fusectl, where that is mounted; root does it by unmounting."""
    if ward.device >= 0:
        with suppress(OSError):
            Path(f"/sys/fs/fuse/connections/{os.minor(ward.device)}/abort").write_text("1")


def _after(ward: Ward, daemon: int) -> None:
    """The daemon is gone: give the path back, note how it ended, and start another where that was asked for."""
    has_it_still = not _has_ended(daemon)
    with _locked(ward.store_fd, 0 if has_it_still else _LOCK_S) as has_lock:
        is_ours = has_lock or has_it_still
        left = _give_back(ward, is_ours)
        if not (ward.phase == "failed" or (ward.phase == "mounted" and left)):
            return  # it ended as it was asked to, or never began
        ended = endings.Ended(ward.pid, int(time.time()), _how(ward), _status(ward.pid, daemon))
        say("WARNING", f"the daemon of {ward.mountpoint} (process {ward.pid}) {ended.in_words}")
        if not is_ours:
            return  # who has the store by now sees to it
        try:
            endings.write(ward.store_fd, ended)
        except OSError as error:
            say("WARNING", f"no note of that can be left in the store: {error.strerror}")
            return
    if ward.to_be_restarted:
        _bring_back(ward, ended)


def _give_back(ward: Ward, is_ours: bool) -> bool:
    """Unmount what the daemon left; whether there was anything. `is_ours`: no successor has the store's lock."""
    deadline = time.monotonic() + _LOCK_S
    left = False
    while (view := ward.mount()) is not None and time.monotonic() < deadline:
        # Else a command has the store, which must not keep a dead view there; or a successor has it, whose view may
        # have got the very numbers of ours.
        if not mounts.is_reached(view) or not (is_ours or _is_dead(view)):
            return is_ours
        left = True
        try:
            mountpoint.unmount(view.mountpoint, lazy=True, forced=True)
        except MountError:
            time.sleep(_POLL_S)
    return left


def _has_ended(daemon: int) -> bool:
    """False for one that not even SIGKILL ends, as when it waits for a disk."""
    return daemon < 0 or bool(select.select([daemon], [], [], 0)[0])


def _is_dead(view: mounts.Mount) -> bool:
    try:
        return not mounts.answers(view)
    except MountError:
        return False


@contextmanager
def _locked(store_fd: int, wait_s: float) -> Iterator[bool]:
    """Hold the store's lock while the block runs; not, where another has it for longer or the store is gone."""
    lock = -1
    try:
        with suppress(OSError):
            lock = os.open("lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=store_fd)
        yield lock >= 0 and _lock(lock, wait_s)
    finally:
        if lock >= 0:
            os.close(lock)


def _lock(fd: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _how(ward: Ward) -> endings.How:
    return "silent" if ward.silent else "failed" if ward.phase == "failed" else "died"


def _status(pid: int, daemon: int) -> int | None:
    """The exit code of a process that has ended, or minus the number of a signal; None where the kernel does not tell.

    As long as its parent has taken no note of its end it stands in /proc; from then on newer kernels tell it by its
    descriptor.
    """
    if daemon < 0:
        return None
    with suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        reaped = select.poll()
        reaped.register(daemon, 0)  # POLLHUP alone, which needs no asking for
        if fields[0] == "Z" and not reaped.poll(0):
            return os.waitstatus_to_exitcode(int(fields[-1]))
    return syscalls.ended_as(daemon)


def _bring_back(ward: Ward, ended: endings.Ended) -> None:
    # Imported here: a guardian that has nothing to start stays small.
    from ipfsfs.daemon.config import Config
    from ipfsfs.daemon.restarts import bring_back

    bring_back(Config.from_json(ward.config), ward.store_fd, ended)


def main() -> None:
    """`python -m ipfsfs.daemon.guardian PID CONFIG STORE_FD [SAID]`; the daemon goes on to speak on stdin."""
    syscalls.name_process(b"ipfsfs-guardian")
    os.chdir("/")
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    pid, config, store_fd = sys.argv[1:4]
    os.set_blocking(0, False)
    woken = _woken_by_daemons_end()
    ward = Ward(int(pid), config, int(store_fd))
    ward.hear("".join(sys.argv[4:]).encode())
    guard(ward, 0, woken)


if __name__ == "__main__":
    main()
