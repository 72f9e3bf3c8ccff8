"""What a machine must have for a mount: its device, and the right to mount; and for what is lacking, how to have it."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain.syscalls import CAP_SYS_ADMIN, has_effective

DEVICE: Final = "/dev/fuse"
HELPER: Final = "fusermount3"


@dataclass(slots=True, frozen=True)
class Looked:
    """What was found: whether it will do, and how it can be mended where not."""

    ok: bool
    detail: str
    fix: str = ""


def device() -> Looked:
    """The kernel's device, which this user must be able to open."""
    try:
        mode = stat.S_IMODE(os.stat(DEVICE).st_mode)
    except FileNotFoundError:
        return Looked(False, "not there", "modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN")
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        fix = "as root: chmod 0666 /dev/fuse, as distributions have it (a udev rule keeps it so)"
        if os.geteuid() == 0 or mode & 0o006 == 0o006:
            fix = "start the container with --device /dev/fuse"
        return Looked(False, f"mode {mode:04o}: {error.strerror} for this user", fix)
    return Looked(True, f"mode {mode:04o}, opens for this user")


def right_to_mount() -> Looked:
    """The right to mount: root's own, else through a program that has it."""
    if os.geteuid() == 0:
        if has_effective(CAP_SYS_ADMIN):
            return Looked(True, "root, with CAP_SYS_ADMIN")
        return Looked(False, "root, but without CAP_SYS_ADMIN", "start the container with --cap-add SYS_ADMIN")
    helper = shutil.which(HELPER)
    if helper is None:
        return Looked(False, f"{HELPER} is not there", "install the package fuse3")
    if not os.stat(helper).st_mode & stat.S_ISUID:
        return Looked(False, f"{helper} is not setuid root", f"as root: chmod u+s {helper}")
    return Looked(True, f"through {helper}")


def fix() -> str:
    """How this machine can be made to let us mount, as the hint of a mount that failed; empty where nothing lacks."""
    return next((f"To mend it: {found.fix}" for found in (device(), right_to_mount()) if not found.ok), "")
