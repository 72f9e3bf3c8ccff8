"""The guardian: a small process beside the daemon that gives the path back when the daemon dies or hangs (H4, H5).

It is started by exec with nothing of the FUSE connection open (H3), before there is anything to guard, and stays when
the daemon is killed. The daemon tells it, by a line on its stdin, which mount it guards, and when the path was given
back on purpose. It asks that mount for a sign of life now and then, in a child, since the question itself may hang; it
ends its own daemon only when that very mount does not answer, and unmounts nothing else. It unmounts under the store's
lock, which a successor holds for as long as it is starting or has the path; without it while its daemon, which was
killed and waits for a disk, holds that still (decision 87).

An end that nobody asked for is logged and noted in the store (`ipfsfs.daemon.endings`); if the view was mounted with
`--restart`, the daemon is then started again.

It waits with poll(2) and nothing else, so that it stays as small as an interpreter can be.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ipfsfs.daemon import endings, mounts
from ipfsfs.daemon.log_lines import say
from ipfsfs.daemon.ward import Ward
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


def guard(ward: Ward, told: int, woken: int) -> None:
    """Watch until the daemon is gone, then give the path back; `told` is where the daemon speaks, `woken` what is ready
    when its first thread ends."""
    daemon = -1
    with suppress(ProcessLookupError):
        daemon = os.pidfd_open(ward.pid)
        _watch(ward, told, woken, daemon)
    ward.listen_to_all(told)
    if ward.phase != "released":
        _after(ward, daemon)


def _watch(ward: Ward, told: int, woken: int, daemon: int) -> None:
    """Until the daemon has ended or needs no guardian, or was ended for it does not answer."""
    waiting = select.poll()
    for fd in (daemon, told, woken):
        waiting.register(fd, select.POLLIN)
    while not _is_ending(daemon):
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
        if ready or ward.phase != "mounted" or _is_ending(daemon):
            continue
        if not _answers(ward, told, woken, daemon):
            _abort(ward, daemon)
            return
    if not select.select([daemon], [], [], _ENDING_S)[0]:
        _break_off(ward)  # it has the connection until the disk answers for which it waits


def _woken_by_daemons_end() -> int:
    """What is ready when the thread that started this process ends, whatever other threads of it wait for: the
    descriptor of a process is not, before all of them have ended."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    syscalls.signal_at_parents_end(signal.SIGUSR1)
    return woken


def _is_ending(daemon: int) -> bool:
    """Whether a process will do nothing more, however long it waits for a disk: its first thread has ended, or is to
    obey SIGKILL. False where that cannot be told, or nothing is left of it."""
    try:
        about = _fields(f"self/fdinfo/{daemon}")
        number = int(about["Pid"])  # as /proc counts, which may be mounted for others
        if number <= 0:
            return False
        about = _fields(f"{number}/status")
        pending = int(about["SigPnd"], 16) | int(about["ShdPnd"], 16)
        return about["State"][0] in "ZX" or bool(pending & 1 << signal.SIGKILL - 1)
    except (OSError, ValueError, LookupError):
        return False


def _fields(path: str) -> dict[str, str]:
    lines = Path("/proc", path).read_text("utf-8", "replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


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
        ready: dict[int, int] = {}
        beats = round(PATIENCE_S / BEAT_S)  # of our own: time also passes while both of us are frozen
        while not ready and beats and not _is_ending(daemon):
            ready = dict(waiting.poll(BEAT_S * 1000))
            beats -= 1
        if ready:
            os.kill(child, signal.SIGKILL)
        if asked in ready or daemon in ready:
            os.waitpid(child, 0)
        return bool(ready) or _is_ending(daemon)
    finally:
        os.close(asked)


def _abort(ward: Ward, daemon: int) -> None:
    """End a daemon that answers nothing, and its connection."""
    ward.silent = True
    _break_off(ward)
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(daemon, signal.SIGKILL)
    select.select([daemon], [], [], 5)


def _break_off(ward: Ward) -> None:
    """Through fusectl, where that is mounted; root does it by unmounting as well."""
    if ward.connection >= 0:
        with suppress(OSError):
            os.write(ward.connection, b"1")


def _after(ward: Ward, daemon: int) -> None:
    """The daemon is gone: give the path back, note how it ended, and start another where that was asked for.

    The log and the store may be on the disk for which one waits that does not end: the path comes first.
    """
    does_not_end = ward.has_store(daemon)
    left = does_not_end and _give_back(ward, daemon, has_lock=False)
    with _locked(ward, daemon) as has_lock:
        is_ours = has_lock or ward.has_store(daemon)
        left = _give_back(ward, daemon, has_lock) or left
        if ward.silent:
            what = f"the view of {ward.mountpoint} has not answered for {PATIENCE_S:.0f} s"
            say("ERROR", f"{what}: its daemon is ended, the path becomes the plain directory")
        if does_not_end:
            say("ERROR", f"process {ward.pid} was killed, and does not end: it waits for something, such as a disk")
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
        if daemon >= 0:
            select.select([daemon], [], [])  # it has the store until then
        _bring_back(ward, ended)


def _give_back(ward: Ward, daemon: int, has_lock: bool) -> bool:
    """Unmount what the daemon left; whether there was anything."""
    deadline = time.monotonic() + _LOCK_S
    left = False
    while (view := ward.mount()) is not None and time.monotonic() < deadline:
        is_ours = has_lock or ward.has_store(daemon)
        # Else a command has the store, which must not keep a dead view there; or a successor has it, whose view may
        # have got the very numbers of ours.
        if not mounts.is_reached(view) or not (is_ours or _is_dead(view)):
            return is_ours
        left = True
        try:
            mountpoint.unmount(view.mountpoint, lazy=True, forced=True, mount_id=view.mount_id)
        except MountError:  # as while fusermount3 cannot be started: tried again until the deadline
            time.sleep(_POLL_S)
    return left


def _is_dead(view: mounts.Mount) -> bool:
    try:
        return not mounts.answers(view)
    except MountError:
        return False


@contextmanager
def _locked(ward: Ward, daemon: int) -> Iterator[bool]:
    """Hold the store's lock while the block runs; not, where another has it for long or the store is gone."""
    lock = -1
    try:
        with suppress(OSError):
            lock = os.open("lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=ward.store_fd)
        yield lock >= 0 and _lock(lock, ward, daemon)
    finally:
        if lock >= 0:
            os.close(lock)


def _lock(fd: int, ward: Ward, daemon: int) -> bool:
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline or ward.has_store(daemon):
                return False
            time.sleep(_POLL_S)  # flock(2) itself waits without a limit
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
