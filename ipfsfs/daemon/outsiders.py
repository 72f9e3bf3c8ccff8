"""Processes that reach a directory by another way than the view, or hold files in it: read off /proc (H22)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ipfsfs.daemon.mounts import Mount

_WRITING: Final = os.O_WRONLY | os.O_RDWR

Doing = Literal["writes to", "has locked", "uses", "has its working directory in", "has its root directory in"]
_STANDING: Final[tuple[tuple[str, Doing], ...]] = (
    ("cwd", "has its working directory in"),
    ("root", "has its root directory in"),
)


@dataclass(slots=True, frozen=True)
class Outsider:
    """A process, and what it does with which file."""

    pid: int
    command: str
    doing: Doing
    path: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid}) {self.doing} {self.path}"


def writers_and_locks(directory: Path) -> list[Outsider]:
    """Who has a file below a directory open for writing, or locked."""
    found = []
    locked = _locked_inodes()
    below = f"{directory}/"
    for pid in _processes():
        for fd, target in _descriptors(pid):
            if not target.startswith(below):
                continue
            if _flags(pid, fd) & _WRITING:
                found.append(Outsider(pid, command(pid), "writes to", target))
            elif (pid, _inode(pid, fd)) in locked:
                found.append(Outsider(pid, command(pid), "has locked", target))
    return found


def users_of(mount_id: int, device: int, top: Path) -> list[Outsider]:
    """Who keeps a mount busy, be it unmounted lazily by now: by an open file, a mapping, a working directory or a root.

    In other mount namespaces too, where the same filesystem has mounts of other numbers. Who may not look into a
    process does not learn of it. No filesystem is asked anything. `top` is where the mount is, or was.
    """
    found: dict[int, Outsider] = {}
    mark = f"{os.major(device):02x}:{os.minor(device):02x} "
    numbers_in: dict[str, set[str]] = {}
    for pid in _processes():
        numbers = _numbers(mount_id, device, pid, numbers_in)
        for name, doing in _STANDING:
            if _mount_number(f"/proc/{pid}/{name}") in numbers:
                found.setdefault(pid, Outsider(pid, command(pid), doing, _in(top, _link(f"/proc/{pid}/{name}"))))
        for fd, target in _descriptors(pid):
            # By the mount's number, not by its path: we ourselves hold the directory beneath, which has the same path.
            if target.startswith("/") and _fdinfo(pid, fd, "mnt_id:") in numbers:
                found.setdefault(pid, Outsider(pid, command(pid), "uses", _in(top, target)))
        with suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                if mark in line:
                    path = _in(top, line.split(None, 5)[-1].strip())
                    found.setdefault(pid, Outsider(pid, command(pid), "uses", path))
                    break
    return list(found.values())


def _in(top: Path, target: str) -> str:
    """A path as it was: of what lies in a mount that is unmounted the kernel tells only where in it that is."""
    return target if target == str(top) or target.startswith(f"{top}/") else f"{top}{target}".rstrip("/")


def other_places(mount_id: int, device: int) -> list[str]:
    """Where a filesystem is mounted besides the mount of that number, be it unmounted by now: at other paths here, and
    in the mount namespaces of other processes."""

    def is_another(mount: Mount) -> bool:
        return mount.device == device and mount.mount_id != mount_id

    found = [str(mount.mountpoint) for mount in _mounts_of(os.getpid()) if is_another(mount)]
    seen = {_namespace(os.getpid())}
    for pid in _processes():
        if (namespace := _namespace(pid)) not in seen:
            seen.add(namespace)
            found += [
                f"{mount.mountpoint} in the mount namespace of {command(pid)} (process {pid})"
                for mount in _mounts_of(pid)
                if is_another(mount)
            ]
    return found


def _numbers(mount_id: int, device: int, pid: int, known: dict[str, set[str]]) -> set[str]:
    """The numbers that a filesystem's mounts have in the namespace of a process."""
    namespace = _namespace(pid)
    if namespace not in known:
        numbers = {str(other.mount_id) for other in _mounts_of(pid) if other.device == device}
        known[namespace] = numbers | {str(mount_id)}
    return known[namespace]


def _namespace(pid: int) -> str:
    return _link(f"/proc/{pid}/ns/mnt")


def _mounts_of(pid: int) -> list[Mount]:
    """The mounts that a process sees; none where we may not look."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as table:
            return [Mount.parse(line) for line in table]
    except (OSError, ValueError):
        return []


def command(pid: int) -> str:
    """The name of a process."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "?"


def _processes() -> list[int]:
    me = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != me]


def _descriptors(pid: int) -> Iterator[tuple[str, str]]:
    # A process may end, or belong to somebody else, at any moment: then it has nothing to show.
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for name in names:
        yield name, _link(f"/proc/{pid}/fd/{name}")


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _flags(pid: int, fd: str) -> int:
    return int(_fdinfo(pid, fd, "flags:") or "0", 8)


def _fdinfo(pid: int, fd: str, field: str) -> str:
    with suppress(OSError), open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as info:
        for line in info:
            if line.startswith(field):
                return line.split()[1]
    return ""


def _mount_number(path: str) -> str:
    """Of the mount that a directory lies in; empty where we may not look."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _fdinfo(os.getpid(), str(fd), "mnt_id:")
    finally:
        os.close(fd)


def _inode(pid: int, fd: str) -> int:
    """Of an open file, without asking its filesystem where the kernel (since Linux 5.14) knows it."""
    if told := _fdinfo(pid, fd, "ino:"):
        return int(told)
    with suppress(OSError):
        return os.stat(f"/proc/{pid}/fd/{fd}").st_ino
    return 0


def _locked_inodes() -> set[tuple[int, int]]:
    """(process, inode) of every lock in /proc/locks: `1: FLOCK ADVISORY WRITE 4711 fe:00:9978514 0 EOF`."""
    found = set()
    with open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()
            if "->" in fields[1]:
                continue
            with suppress(ValueError, IndexError):
                found.add((int(fields[4]), int(fields[5].split(":")[2])))
    return found
