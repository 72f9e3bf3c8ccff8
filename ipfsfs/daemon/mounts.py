"""What is mounted, by the kernel's own word, and which of it are views."""

from __future__ import annotations

import os
import pwd
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.errors import MountError
from ipfsfs.plain.mount_table import FILESYSTEM, Row
from ipfsfs.printed import command

_PATIENCE_S: Final = 5.0


@dataclass(slots=True, frozen=True)
class Mount(Row):
    """One mount, and whose view it is, if it is one."""

    @property
    def is_view(self) -> bool:
        """Whether this is a mount of ours."""
        return self.filesystem == FILESYSTEM

    @property
    def store(self) -> Path:
        """The store of a view."""
        return Path(self.source)

    @property
    def owner(self) -> int | None:
        """The user whose view this is, by the kernel's word; None where it tells none."""
        given = [option.removeprefix("user_id=") for option in self.options if option.startswith("user_id=")]
        return int(given[0]) if given else None

    @property
    def is_anothers(self) -> bool:
        """Whether its daemon would not answer us: it answers its own user and root."""
        return os.geteuid() not in (0, self.owner)

    @property
    def is_of_another(self) -> bool:
        """Whether another user mounted it, be we root: what its daemon says is that user's word."""
        return self.owner != os.geteuid()

    @property
    def lets_us_in(self) -> bool:
        """Whether we may use it at all: its own user may, others with allow_other only, be they root."""
        return "allow_other" in self.options or self.owner == os.geteuid()

    @property
    def owner_in_words(self) -> str:
        """Its user, in words."""
        return "unknown" if self.owner is None else user_in_words(self.owner)


def user_in_words(uid: int) -> str:
    """A user by name, where there is an account, and by number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name}, uid {uid}"
    except KeyError:
        return f"uid {uid}"


def all_mounts() -> list[Mount]:
    """Every mount this process can see, in the order they were made. Raises OSError."""
    return list(Mount.all())


def at(path: Path) -> Mount | None:
    """The topmost mount at exactly this (absolute) path, if there is one."""
    found = None
    for mount in all_mounts():
        if mount.mountpoint == path:
            found = mount
    return found


def view_at(path: Path) -> Mount | None:
    """The view mounted at exactly this path, if one is, dead or alive."""
    mount = at(path)
    return mount if mount is not None and mount.is_view else None


def appears(path: Path, within_s: float) -> Mount | None:
    """The view at exactly this path whose daemon answers, once there is one; None where there is none in time."""
    deadline = time.monotonic() + within_s
    with open("/proc/self/mountinfo", "rb") as table:
        changes = select.poll()
        changes.register(table, select.POLLPRI)  # that it has changed (proc(5)): it can always be read
        while (view := view_at(path)) is None or not answers(view):
            if not changes.poll(max(deadline - time.monotonic(), 0) * 1000):
                return None
    return view


def view_over(path: Path) -> Mount | None:
    """The view that a path lies in, if any."""
    best = None
    for mount in all_mounts():
        if path == mount.mountpoint or mount.mountpoint in path.parents:
            best = mount
    return best if best is not None and best.is_view else None


def views_below(path: Path) -> list[Path]:
    """Where views are mounted below a path, of those that answer us."""
    return [view.mountpoint for view in views() if path in view.mountpoint.parents and not view.is_anothers]


def mounted_on(mount_id: int) -> list[Mount]:
    """What is mounted in a mount, and in that, and so on: it is to be unmounted before, in this order."""
    numbers, found = {mount_id}, list[Mount]()
    for mount in all_mounts():
        if mount.parent_id in numbers:
            numbers.add(mount.mount_id)
            found.append(mount)
    return found[::-1]


def is_reached(mount: Mount) -> bool:
    """Whether its path leads to a mount: nothing is mounted over it, nor over a directory above.

    Asks no daemon, for nothing is opened but the path itself (O_PATH).
    """
    try:
        fd = os.open(mount.mountpoint, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
            return f"mnt_id:\t{mount.mount_id}\n" in info
    finally:
        os.close(fd)


def views() -> list[Mount]:
    """All views, of every user."""
    return [mount for mount in all_mounts() if mount.is_view]


def our_views() -> list[Mount]:
    """The views that this user mounted."""
    return [mount for mount in views() if not mount.is_of_another]


def answers(mount: Mount) -> bool:
    """Whether a daemon is behind a view: false when every call would end in ENOTCONN.

    Raises MountError where one is that does not answer, after five seconds. The question is put by a child, since it
    may never come back.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.statvfs(mount.mountpoint)
            code = 0
        finally:
            os._exit(code)
    asked = os.pidfd_open(child)
    try:
        ended = select.poll()
        ended.register(asked, select.POLLIN)
        if ended.poll(_PATIENCE_S * 1000):
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.kill(child, signal.SIGKILL)  # not waited for: not even that may end it
    finally:
        os.close(asked)
    raise MountError(
        f"the daemon behind {mount.mountpoint} does not answer",
        hint=f"It may wait for a disk. To have the plain directory back: {command('umount --lazy', mount.mountpoint)}",
    )
