"""The group that shares a view, by its name or number."""

from __future__ import annotations

import grp
import os

from ipfsfs.errors import MountError, UsageError
from ipfsfs.printed import lasting_program


def group_number(group: str) -> int:
    """The number of the group that a view is to be shared in; a number stands for itself, whether it has a name or not.

    Raises UsageError where there is no such group, MountError where this process is not root's.
    """
    if os.geteuid() != 0:
        raise MountError(
            "--team needs root: another user's daemon can neither make files for others nor give them to a group",
            hint=f"As root: {lasting_program()} mount --team {group} PATH",
        )
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isdecimal() and int(group) < 1 << 32:
            return int(group)
        raise UsageError(
            f"there is no group {group}",
            hint=f"Make it, and add who is to be in it: groupadd {group}; usermod -aG {group} USER",
        ) from None
