"""What `mount` tells a script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Facts:
    """What became of a directory. `skipped`: why it is not mounted, which is no failure; empty where it is. `new`: it
    was not mounted before; else nothing was changed, and `differing` says what was asked for and is not so. `user`:
    whose view it is. `degraded`: why files are neither sealed nor checked; empty where they are."""

    mountpoint: Path
    mounted: bool
    new: bool
    skipped: str = ""
    store: Path | None = None
    pid: int | None = None
    user: int | None = None
    degraded: str = ""
    differing: tuple[str, ...] = ()
