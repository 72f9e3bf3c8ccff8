"""Paths that a command is given, by the mounted view that each lies in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ipfsfs.cli.paths import Target, must_be_ours, target
from ipfsfs.daemon.mounts import Mount
from ipfsfs.errors import MountError
from ipfsfs.printed import command


def by_view(paths: Sequence[Path]) -> list[tuple[Mount, list[Target]]]:
    """Each view that any of the paths lies in, with those. Raises MountError for a path in no view of ours."""
    found: dict[Path, tuple[Mount, list[Target]]] = {}
    for path in paths:
        at = target(path)
        if at.mount is None:
            raise MountError(
                f"{at.root} is not mounted",
                hint=f"Mount it first: {command('mount', at.root)}",
            )
        must_be_ours(at.mount)
        found.setdefault(at.mount.mountpoint, (at.mount, []))[1].append(at)
    return list(found.values())
