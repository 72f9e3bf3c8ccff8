"""A filesystem that is mounted below the plain directory: its files are served, and never taken for others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import cid_of
from tests.support.filesystems import mounted_tmpfs
from tests.support.mounted import Mounted

pytestmark = pytest.mark.filesystem

FILES: Final = 30


@pytest.fixture
def below(volume: Path) -> Iterator[Path]:
    """A filesystem of its own in a directory of the volume, both in memory: they count inodes from one number on."""
    (volume / "cache").mkdir()
    with mounted_tmpfs(volume / "cache", "size=1m") as at:
        yield at


def test_what_is_removed_on_another_filesystem_leaves_our_seals_alone(
    tmp_path: Path, below: Path, mounted: Callable[..., Mounted]
) -> None:
    theirs = {}
    for number in range(FILES):
        path = below / str(number)
        path.write_bytes(b"another")
        theirs[path.stat().st_ino] = path
    mount = mounted(below.parent, "--store", str(tmp_path / "store"))
    ours = {}
    for number in range(FILES):
        path = mount.path / str(number)
        path.write_bytes(b"ours")
        ours[path.stat().st_ino] = path
    mount.seal()
    both = ours.keys() & theirs.keys()
    assert both, "nothing is compared"
    assert all(cid_of(ours[ino]) for ino in both)
    for ino in both:
        theirs[ino].unlink()
    assert all(cid_of(ours[ino]) for ino in both)
