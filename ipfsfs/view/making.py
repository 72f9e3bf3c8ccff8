"""How what programs make comes to be in the plain directory: as they ask for it, or as a team's rules have it."""

from __future__ import annotations

import os
import stat as stat_
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ipfsfs.caches.place import Place
from ipfsfs.plain import entries, held
from ipfsfs.plain.ownership import Ownership
from ipfsfs.view.backing import Caller
from ipfsfs.view.team import Team


class At(NamedTuple):
    """Where something is to be made: a descriptor of the directory, what the directory is, and the name."""

    dir_fd: int
    place: Place
    name: bytes


class Making(Protocol):
    """Makes entries on behalf of those who ask. All raise OSError; EEXIST where the name is taken."""

    def directory(self, at: At, mode: int, caller: Caller) -> None:
        """Make a directory."""

    def node(self, at: At, mode: int, device: int, caller: Caller) -> None:
        """Make a regular file, fifo, socket or device."""

    def link(self, at: At, target: bytes, caller: Caller) -> None:
        """Make a symlink."""

    def file(self, at: At, flags: int, mode: int, caller: Caller) -> int:
        """Make and open a regular file; the descriptor is the caller's."""


@dataclass(slots=True, frozen=True)
class AsAsked:
    """As on plain disk."""

    ownership: Ownership

    def directory(self, at: At, mode: int, caller: Caller) -> None:
        """As `Making`."""
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.mkdir(at.dir_fd, at.name, mode)

    def node(self, at: At, mode: int, device: int, caller: Caller) -> None:
        """As `Making`."""
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.mknod(at.dir_fd, at.name, mode, device)

    def link(self, at: At, target: bytes, caller: Caller) -> None:
        """As `Making`."""
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            entries.symlink(target, at.dir_fd, at.name)

    def file(self, at: At, flags: int, mode: int, caller: Caller) -> int:
        """As `Making`."""
        with self.ownership.of(caller.uid, caller.gid, caller.umask):
            return entries.create(at.dir_fd, at.name, flags, mode)


@dataclass(slots=True, frozen=True)
class AsTeam:
    """For a team: owned by who asks, of the team's group, with the team's rights from the first moment on."""

    ownership: Ownership
    team: Team

    def directory(self, at: At, mode: int, caller: Caller) -> None:
        """As `Making`."""
        made = self._mode(at, mode | stat_.S_IFDIR, caller)
        with self.ownership.of(caller.uid, self.team.gid, 0):
            entries.mkdir(at.dir_fd, at.name, made)
        st = entries.stat(at.dir_fd, at.name)
        if st.st_gid == self.team.gid and st.st_mode & stat_.S_ISGID:
            return
        fd = entries.look_directory(at.dir_fd, at.name)  # the directory around it does not pass on the group
        try:
            self._give_to_team(fd, st)
            held.chmod(fd, stat_.S_IMODE(st.st_mode) | stat_.S_ISGID)
        finally:
            os.close(fd)

    def node(self, at: At, mode: int, device: int, caller: Caller) -> None:
        """As `Making`."""
        made = self._mode(at, mode, caller)
        with self.ownership.of(caller.uid, self.team.gid, 0):
            entries.mknod(at.dir_fd, at.name, stat_.S_IFMT(mode) | made, device)
        self._settle(at)

    def link(self, at: At, target: bytes, caller: Caller) -> None:
        """As `Making`."""
        self.team.refuse_anothers(at.place, at.dir_fd, at.name, caller)
        with self.ownership.of(caller.uid, self.team.gid, 0):
            entries.symlink(target, at.dir_fd, at.name)
        self._settle(at)

    def file(self, at: At, flags: int, mode: int, caller: Caller) -> int:
        """As `Making`."""
        made = self._mode(at, mode | stat_.S_IFREG, caller)
        with self.ownership.of(caller.uid, self.team.gid, 0):
            fd = entries.create(at.dir_fd, at.name, flags, made)
        self._give_to_team(fd, os.fstat(fd))
        return fd

    def _mode(self, at: At, mode: int, caller: Caller) -> int:
        """What the permission bits are to be. A default ACL of the directory goes before the umask, as it should: the
        group's bits are passed on as those that the list may give. Raises PermissionError."""
        self.team.refuse_anothers(at.place, at.dir_fd, at.name, caller)
        secret = self.team.is_secret(at.place, at.name, mode)
        return self.team.made_mode(stat_.S_IMODE(mode), caller.umask, os.fstat(at.dir_fd).st_mode, secret=secret)

    def _settle(self, at: At) -> None:
        st = entries.stat(at.dir_fd, at.name)
        if st.st_gid != self.team.gid:
            fd = entries.look(at.dir_fd, at.name)
            try:
                self._give_to_team(fd, st)
            finally:
                os.close(fd)

    def _give_to_team(self, fd: int, st: os.stat_result) -> None:
        """A directory of another group passes that on. What cannot be given stays its maker's, as in that directory."""
        if st.st_gid != self.team.gid:
            with suppress(PermissionError):
                held.chown(fd, -1, self.team.gid)
