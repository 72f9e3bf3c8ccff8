"""Where the store of a view lies, and what a mount must not cover (H7, H39)."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import ipfsfs
from ipfsfs.errors import MountError


def default_store(mountpoint: Path) -> Path:
    """`<mountpoint>.ipfsfs` beside the mount point, where that is the same filesystem and ours to write to.

    Else a directory below XDG_STATE_HOME: then what goes into quarantine is copied there instead of renamed.
    Raises MountError for the root directory.
    """
    if not mountpoint.name:
        raise MountError(f"{mountpoint} is the root of all: a view covers one directory below it")
    beside = mountpoint.with_name(mountpoint.name + ".ipfsfs")
    if beside.is_dir():
        return beside
    parent = mountpoint.parent
    same_filesystem = not mountpoint.exists() or parent.stat().st_dev == mountpoint.stat().st_dev
    if same_filesystem and os.access(parent, os.W_OK | os.X_OK):
        return beside
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    mark = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:12]
    return state / "ipfsfs" / f"{mountpoint.name}-{mark}"


def refuse_what_cannot_be_covered(mountpoint: Path, store: Path) -> None:
    """Raises MountError where the mount would hide what the daemon itself needs, which would then wait for itself."""
    for kernels in (Path("/proc"), Path("/sys")):
        if kernels == mountpoint or kernels in mountpoint.parents:
            raise MountError(
                f"cannot mount over {mountpoint}: it is the kernel's, and the daemon itself asks the kernel there",
                hint="Mount over a directory of files.",
            )
    needed = {
        "the kernel's device for this": Path("/dev/fuse"),
        "the store": store,
        "the Python environment": Path(sys.prefix),
        "the Python interpreter": Path(sys.executable).resolve(),
        "ipfsfs itself": Path(ipfsfs.__file__).resolve().parent,
    }
    for what, path in needed.items():
        if path == mountpoint or mountpoint in path.parents:
            raise MountError(
                f"cannot mount over {mountpoint}: {what} lies in it ({path})",
                hint="Mount a directory further down, or keep that elsewhere"
                + (" (--store)." if what == "the store" else "."),
            )
