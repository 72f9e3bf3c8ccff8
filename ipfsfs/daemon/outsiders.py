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


@dataclass(slots=True, frozen=True)
class Outsider:
    """A process, and what it does with which file."""

    pid: int
    command: str
    doing: Literal["writes to", "has locked", "uses", "stands in"]
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
            elif (pid, _inode(f"/proc/{pid}/fd/{fd}")) in locked:
                found.append(Outsider(pid, command(pid), "has locked", target))
    return found


def users_of(mount: Mount) -> list[Outsider]:
    """Who keeps a mount busy: by an open file, a mapping, a working directory or a root in it."""
    found: dict[int, Outsider] = {}
    mark = f"{os.major(mount.device):02x}:{os.minor(mount.device):02x} "
    top = str(mount.mountpoint)
    for pid in _processes():
        for name in ("cwd", "root"):
            target = _link(f"/proc/{pid}/{name}")
            if (target == top or target.startswith(f"{top}/")) and _device(f"/proc/{pid}/{name}") == mount.device:
                found.setdefault(pid, Outsider(pid, command(pid), "stands in", target))
        for fd, target in _descriptors(pid):
            # By the mount's number, not by its path: we ourselves hold the directory beneath, which has the same path.
            if target.startswith(top) and _fdinfo(pid, fd, "mnt_id:") == str(mount.mount_id):
                found.setdefault(pid, Outsider(pid, command(pid), "uses", target))
        with suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                if mark in line:
                    found.setdefault(pid, Outsider(pid, command(pid), "uses", line.split(None, 5)[-1].strip()))
                    break
    return list(found.values())


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


def _device(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_dev
    return -1


def _inode(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_ino
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
