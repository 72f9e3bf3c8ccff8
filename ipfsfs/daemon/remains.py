"""What a daemon leaves at its path, and taking that away."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint


def clear_stale(path: Path) -> None:
    """Unmount what a daemon that died left here. The store is ours, so nobody is behind it."""
    while (mount := mounts.view_at(path)) is not None:
        if mounts.answers(mount):
            raise MountError(f"{path} is mounted already, with the store {mount.store}")
        unmount(mount, lazy=True)


def unmount(mount: mounts.Mount, *, lazy: bool) -> None:
    """Unmount a view without its daemon, unless somebody else just did. Raises MountError, InUse."""
    try:
        mountpoint.unmount(mount.mountpoint, lazy=lazy, mount_id=mount.mount_id)
    except MountError:
        if not is_gone(mount, mount.store):
            raise


def take_away(mount: mounts.Mount) -> None:
    """However we got here, leave no mount of ours without a daemon."""
    with suppress(MountError, OSError):
        top = mounts.at(mount.mountpoint)
        if top is not None and top.mount_id == mount.mount_id:
            mountpoint.unmount(mount.mountpoint, lazy=True, mount_id=mount.mount_id)


def is_gone(mount: mounts.Mount | None, store: Path) -> bool:
    """Whether the view is mounted no more; one that was never seen to be is told by its store."""
    if mount is None:
        return all(view.source != str(store) for view in mounts.views())
    return all((view.mount_id, view.device) != (mount.mount_id, mount.device) for view in mounts.views())
