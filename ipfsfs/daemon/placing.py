"""Where the store of a view lies, and what a mount must not cover (H7, H39)."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Final

import ipfsfs
from ipfsfs.errors import MountError

_NAME_MOST: Final = 255
"""Bytes of a name, on all filesystems that matter (NAME_MAX)."""
_SHORT: Final = 100
"""Bytes of the name of a mount point that a store's name begins with, where the whole does not fit."""
_STORE_MOST: Final = 512 - len("/ledger-journal")
"""Bytes of a store's path: SQLite takes 512 for that of a database with a suffix of its own (MAX_PATHNAME)."""


def default_store(mountpoint: Path) -> Path:
    """`<mountpoint>.ipfsfs` beside the mount point, where that is the same filesystem and ours to write to.

    Else a directory below XDG_STATE_HOME: then what goes into quarantine is copied there instead of renamed.
    It need not exist, nor be within reach. Raises MountError for the root directory.
    """
    if not mountpoint.name:
        raise MountError(f"{mountpoint} is the root of all: a view covers one directory below it")
    beside = mountpoint.with_name(mountpoint.name + ".ipfsfs")
    if _fits(beside):
        if os.path.isdir(beside):
            return beside
        parent = mountpoint.parent
        if _device(mountpoint) in (None, _device(parent)) and os.access(parent, os.W_OK | os.X_OK):
            return beside
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    mark = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:12]
    name = f"{mountpoint.name}-{mark}"
    if len(os.fsencode(name)) > _NAME_MOST:
        name = os.fsencode(mountpoint.name)[:_SHORT].decode(errors="ignore") + f"-{mark}"
    return state / "ipfsfs" / name


def _fits(store: Path) -> bool:
    """Whether a store may lie there, and all that is in it."""
    return len(os.fsencode(store.name)) <= _NAME_MOST and len(os.fsencode(store)) <= _STORE_MOST


def _device(path: Path) -> int | None:
    """The filesystem of a path; None where it is not there, or out of reach."""
    try:
        return path.stat().st_dev
    except OSError:
        return None


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
