"""On whose behalf files are made (H34)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ipfsfs.plain import syscalls


@dataclass(slots=True, frozen=True)
class Ownership:
    """Makes what is created belong to who asked for it, from the first moment on.

    As root the calling thread takes on the asking user's and group's identity for the one call. An ordinary user's
    process cannot, and so makes nothing for others.
    """

    root: bool
    uid: int

    @classmethod
    def prepare(cls) -> Ownership:
        """Ready this process, and every thread it starts from now on, to create for others. Raises OSError.

        As root, permissions stay what the kernel checked them to be; what would let others past quota
        (CAP_SYS_RESOURCE) or keep set-user-id bits over a write (CAP_FSETID) is put aside.
        """
        os.umask(0)
        root = os.geteuid() == 0
        if root:
            syscalls.keep_capabilities_when_acting()
            syscalls.set_effective(syscalls.CAP_SYS_RESOURCE, False)
            syscalls.set_effective(syscalls.CAP_FSETID, False)
        return cls(root, os.geteuid())

    @contextmanager
    def of(self, uid: int, gid: int, umask: int) -> Iterator[None]:
        """Create as `uid` and `gid`, with their umask (a default ACL of the directory overrides it, as it should).

        Raises PermissionError where that cannot be done.
        """
        if not self.root and uid != self.uid:
            raise PermissionError(1, f"this view belongs to user {self.uid}: it makes no files for others")
        previous = os.umask(umask)
        try:
            with self.acting(uid, gid):
                yield
        finally:
            os.umask(previous)

    @contextmanager
    def acting(self, uid: int, gid: int) -> Iterator[None]:
        """Act for a user, as root: what the kernel is given meanwhile, it uses for that user's account."""
        acting = self.root and (uid != 0 or gid != 0)
        if acting:
            syscalls.act_as(uid, gid)
        try:
            yield
        finally:
            if acting:
                syscalls.act_as(0, 0)

    def pwrite(self, fd: int, data: bytes, offset: int, uid: int, gid: int) -> int:
        """Write for whoever opened the file: what a disk keeps back for root is not for others. Raises OSError."""
        if not self.root or uid == 0:
            return os.pwrite(fd, data, offset)
        syscalls.act_as(uid, gid)
        try:
            return os.pwrite(fd, data, offset)
        finally:
            syscalls.act_as(0, 0)


def groups_of(pid: int) -> frozenset[int]:
    """The supplementary groups of a process; none where it cannot be seen, as from a container of its own."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Groups:"):
                    return frozenset(map(int, line.split()[1:]))
    except OSError:
        pass
    return frozenset()
