"""A cache that a group shares (decision 73): the rights of what is made and changed in it, and secrets, which are their
owner's alone.

The group has the rights that a file's owner has, so that every member can use, lock, update and remove what any of them
made. What is secret by its name has no rights for anybody else, and to other users than its owner and root its name is
not there (decision 74).
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.place import Kind, Place
from ipfsfs.plain import entries, held
from ipfsfs.view.attributes import Changes
from ipfsfs.view.backing import Caller, Node, stale
from ipfsfs.view.nodes import NodeTable

log = logging.getLogger(__name__)

_TOLD_MOST: Final = 1000
_TURNING_MOST: Final = 1000
_WRITE: Final = 0o002


@dataclass(slots=True)
class Team:
    """The group that shares a view, by its number."""

    gid: int
    _told: set[tuple[int, bytes]] = field(default_factory=set)
    """Who was refused what: the log says so once."""
    _turning: dict[tuple[int, bytes], None] = field(default_factory=dict)
    """What is about to become a secret: directories, by their number, and the names in them."""

    @staticmethod
    def file_mode(mode: int) -> int:
        """Permission bits in which the group has its owner's rights."""
        return mode | (mode & 0o700) >> 3

    def made_mode(self, mode: int, umask: int, directory: int, *, secret: bool) -> int:
        """The permission bits of what a member makes with `mode` and `umask` in a directory with the mode `directory`.

        The directory decides what others may do; they write only where the umask lets them as well.
        """
        asked = mode & ~umask
        owner = asked & 0o700
        if secret:
            return mode & 0o7000 | owner
        others = owner >> 6 & directory & ~_WRITE | asked & directory & _WRITE
        return mode & 0o7000 | owner | owner >> 3 | others & 0o007

    @staticmethod
    def is_secret(place: Place, name: bytes, mode: int) -> bool:
        """Whether what has this name, and is of the type that `mode` says, is its owner's alone. A directory is not,
        nor is a link of a snapshot, which a repository has there."""
        if stat_.S_ISDIR(mode) or place.classify(name).kind is not Kind.SECRET:
            return False
        return not (stat_.S_ISLNK(mode) and place.is_immutable(name, is_link=True))

    def hides(self, place: Place, name: bytes, st: os.stat_result, uid: int) -> bool:
        """Whether a name, and what it stands for, is not there for a user."""
        return uid not in (0, st.st_uid) and self.is_secret(place, name, st.st_mode)

    def refuse_anothers(self, place: Place, dir_fd: int, name: bytes, caller: Caller) -> None:
        """A name is to be made, or to be another file's: raises PermissionError where another user's secret has it, of
        which the caller does not see that it is there."""
        if place.classify(name).kind is not Kind.SECRET:
            return
        try:
            st = entries.stat(dir_fd, name)
        except FileNotFoundError:
            return
        if self.hides(place, name, st, caller.uid):
            self._refuse(name, caller, f"user {st.st_uid} keeps a secret at this name")

    def keep_private(self, place: Place, name: bytes, fd: int, caller: Caller) -> bool:
        """A file, which `fd` holds, is to get a name. Where that makes it a secret, the group's and others' rights go
        first; returns whether some did.

        Raises OSError; PermissionError where the file is another user's: what somebody else can write would be taken
        for its owner's secret.
        """
        st = os.fstat(fd)
        if not self.is_secret(place, name, st.st_mode):
            return False
        if self.hides(place, name, st, caller.uid):
            self._refuse(name, caller, f"the file that is to be this secret is user {st.st_uid}'s")
        if stat_.S_ISLNK(st.st_mode) or not st.st_mode & 0o077:
            return False
        held.chmod(fd, stat_.S_IMODE(st.st_mode) & ~0o077)
        return True

    def is_turning(self, directory: int, name: bytes) -> bool:
        """Whether what has a name is about to be a secret by another: the kernel may trust nothing of it any more."""
        return bool(self._turning) and (directory, name) in self._turning

    def turn(self, directory: int, name: bytes) -> None:
        """What has a name is to become a secret. With the name it takes along what the kernel was told of it, and for
        how long that holds: so the kernel is to look again first. Raises OSError (ESTALE) for that, once."""
        if (directory, name) not in self._turning:
            if len(self._turning) >= _TURNING_MOST:
                del self._turning[next(iter(self._turning))]
            self._turning[directory, name] = None
            raise stale()

    def turned(self, directory: int, name: bytes) -> None:
        """It has become one, or it cannot."""
        self._turning.pop((directory, name), None)

    def changed(self, place: Place, name: bytes, fd: int, directory: int, changes: Changes) -> Changes:
        """What becomes of a file, which `fd` holds, in a directory with the mode `directory`, where a program asks for
        `changes`: no chmod or chgrp takes a right from the group, none gives it one over a secret, and others get no
        further into a file than the directory lets them. Raises OSError."""
        st = os.fstat(fd)
        secret = self.is_secret(place, name, st.st_mode)
        mode, gid = changes.mode, changes.gid
        if mode is not None:
            mode = self._changed_mode(stat_.S_IMODE(mode), st, fd, directory, secret=secret)
        if gid is not None and not secret:
            gid = self.gid
        return Changes(mode, changes.uid, gid, changes.size, changes.atime_ns, changes.mtime_ns)

    def _changed_mode(self, mode: int, st: os.stat_result, fd: int, directory: int, *, secret: bool) -> int:
        if secret:
            return mode & ~0o077
        if _has_acl(fd):  # these bits are the mask of the list: whoever it names gets no more than before
            mode |= stat_.S_IMODE(st.st_mode) & 0o070
        else:
            mode = self.file_mode(mode)
        return mode | stat_.S_ISGID if stat_.S_ISDIR(st.st_mode) else mode & (~0o007 | directory)

    def _refuse(self, name: bytes, caller: Caller, why: str) -> None:
        if (caller.uid, name) not in self._told:
            if len(self._told) >= _TOLD_MOST:
                self._told.clear()
            self._told.add((caller.uid, name))
            log.warning(
                "user %d may not make %s here: %s. In a team's cache each member keeps the token elsewhere: "
                "export HF_TOKEN_PATH=~/.config/huggingface/token",
                caller.uid,
                os.fsdecode(name),
                why,
            )
        raise PermissionError(errno.EACCES, "another user keeps a secret here; set HF_TOKEN_PATH")


def as_team(team: Team, nodes: NodeTable, node: Node, changes: Changes) -> Changes:
    """What becomes of a node's file, in a team's view, where a program asks for `changes`. Raises OSError."""
    directory = node.parent or node
    above = 0
    with suppress(OSError):  # it may be gone, while the file is open
        above = nodes.stat(directory).st_mode
    with nodes.reached(node) as fd:
        return team.changed(nodes.place(directory), node.name, fd, above, changes)


def _has_acl(fd: int) -> bool:
    try:
        held.get_xattr(fd, held.ACL)
    except OSError:
        return False
    return True
