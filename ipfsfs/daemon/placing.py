"""Where the store of a view lies, and what a mount must not cover (H7, H39)."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Final

import ipfsfs
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError
from ipfsfs.printed import command
from ipfsfs.store.directory import is_safe

_NAME_MOST: Final = 255
"""Bytes of a name, on all filesystems that matter (NAME_MAX)."""
_SHORT: Final = 100
"""Bytes of the name of a mount point that a store's name begins with, where the whole does not fit."""
_ROOTS_STATE: Final = Path("/var/lib")
_STORE_MOST: Final = 512 - len("/ledger-journal")
"""Bytes of a store's path: SQLite takes 512 for that of a database with a suffix of its own (MAX_PATHNAME)."""


def default_store(mountpoint: Path) -> Path:
    """`<mountpoint>.ipfsfs` beside the mount point, where that is the same filesystem and ours to write to.

    Else a directory below XDG_STATE_HOME: then what goes into quarantine is copied there instead of renamed. Root's
    lies at neither where another user could replace it, but below /var/lib. It need not exist, nor be within reach.
    Raises MountError for the root directory.
    """
    if not mountpoint.name:
        raise MountError(f"{mountpoint} is the root of all: a view covers one directory below it")
    beside = mountpoint.with_name(mountpoint.name + ".ipfsfs")
    if _fits(beside) and is_safe(beside):
        if os.path.isdir(beside):
            return beside
        parent = mountpoint.parent
        if _device(mountpoint) in (None, _device(parent)) and os.access(parent, os.W_OK | os.X_OK):
            return beside
    mark = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:12]
    name = f"{mountpoint.name}-{mark}"
    if len(os.fsencode(name)) > _NAME_MOST:
        name = os.fsencode(mountpoint.name)[:_SHORT].decode(errors="ignore") + f"-{mark}"
    return state_directory() / name


def state_directory() -> Path:
    """Where this user's programs keep what is to outlast a restart, and ipfsfs in it."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    if not is_safe(state):  # such as root's with the home directory of who called sudo
        state = _ROOTS_STATE
    return state / "ipfsfs"


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
    """Raises MountError where the mount would hide what a daemon needs: this one, which would then wait for itself, or
    that of another view."""
    for kernels in (Path("/proc"), Path("/sys")):
        if _lies_in(mountpoint, kernels):
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
        if _lies_in(path, mountpoint):
            raise MountError(
                f"cannot mount over {mountpoint}: {what} lies in it ({path})",
                hint="Mount a directory further down, or keep that elsewhere"
                + (" (--store)." if what == "the store" else "."),
            )
    _refuse_to_cover_views(mountpoint)
    _refuse_stores(mountpoint, store)


def _refuse_to_cover_views(mountpoint: Path) -> None:
    for view in mounts.views():
        for what, path in (("its store", view.store), ("the view itself", view.mountpoint)):
            if path != mountpoint and _lies_in(path, mountpoint) and _is_so(view):
                raise MountError(
                    f"cannot mount over {mountpoint}: that would cut off the view of {view.mountpoint}, for {what} "
                    f"lies in it ({path})",
                    hint=f"Unmount that first: {command('umount', view.mountpoint)}",
                )
        if _lies_in(mountpoint, view.store) and _is_so(view):
            raise MountError(f"cannot mount over {mountpoint}: it is the store of the view of {view.mountpoint}")


def _is_so(view: mounts.Mount) -> bool:
    """Whether a view's store belongs to the user who mounted it: any user can name any directory as that of a mount."""
    try:
        return view.store.lstat().st_uid == view.owner
    except OSError:
        return view.owner in (0, os.geteuid())


def _refuse_stores(mountpoint: Path, store: Path) -> None:
    for path in (mountpoint, *mountpoint.parents):
        if os.path.isfile(path / "format") and os.path.isfile(path / "lock") and os.path.isdir(path / "quarantine"):
            raise MountError(
                f"cannot mount over {mountpoint}: {path} is the store of a view",
                hint=f"Mount over its directory instead: {path.name.removesuffix('.ipfsfs')} beside it."
                if path.name.endswith(".ipfsfs")
                else "",
            )
    if _lies_in(mountpoint, store):
        raise MountError(f"cannot mount over {mountpoint}: it lies in the store ({store})")
    around = mounts.view_over(store)
    if around is not None:
        raise MountError(
            f"the store {store} would lie in the view of {around.mountpoint}",
            hint="Choose a place outside of it with --store.",
        )


def _lies_in(path: Path, directory: Path) -> bool:
    return path == directory or directory in path.parents
