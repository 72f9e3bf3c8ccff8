"""From the mount command to the first byte, with a cache that has grown large."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

from tests.bench import caches, material
from tests.bench.bench import At
from tests.bench.places import Bare, Place, View
from tests.bench.row import BARE, MOUNTED, Aim, Line, Row, Unit

_REPOSITORIES: Final = 1000
_EACH: Final = 500_000_000


def mount_large(at: At) -> None:
    """Each time the first mount ever: there is no store yet."""
    place = _place(at)
    began = time.perf_counter()
    place.mount()
    config = material.folder(place.root, material.repository(_REPOSITORIES // 2)) / "snapshots"
    revision = material.commit(material.repository(_REPOSITORIES // 2))
    (config / revision / "config.json").read_bytes()
    seconds = time.perf_counter() - began
    place.umount()
    if isinstance(place, View):
        place.forget()
    place.close()
    at.record("mount", (seconds, 1.0))


def _place(at: At) -> Place:
    root = at.bench.directory / f"large-{at.place.name}"
    place: Place = Bare(root) if at.place.name == BARE else View(root)
    if not place.plain.exists():
        at.bench.closing(place)
        _fill(place.plain)
        caches.write_back(at.bench.directory)
    return place


def _fill(root: Path) -> None:
    """1,000 repositories of 500 MB of nothing each, under the name that promises just that."""
    digest = hashlib.sha256()
    for _ in range(_EACH // 1_000_000):
        digest.update(bytes(1_000_000))
    for number in range(_REPOSITORIES):
        repo_id = material.repository(number)
        material.place_in_cache(root, repo_id, {"config.json": repo_id.encode()})
        at = material.folder(root, repo_id)
        blob = at / "blobs" / digest.hexdigest()
        blob.touch()
        os.truncate(blob, _EACH)
        os.symlink(f"../../blobs/{blob.name}", at / "snapshots" / material.commit(repo_id) / "model.safetensors")


ROWS: Final = (
    Row(
        mount_large,
        (
            Line(
                "mount",
                "mount of a 500 GB cache (1,000 repositories, sparse) to the first read",
                Unit.SECONDS,
                Aim(at_most=1),
            ),
        ),
        places=MOUNTED,
    ),
)
