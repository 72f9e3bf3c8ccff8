"""Places to mount over. A test names them before `mounted`, so that they outlive the view."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, clear
from tests.support.twins import Twins


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """The root of a filesystem of 8 MiB in memory: no store can be beside it. Needs root."""
    at = tmp_path / "volume"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", at], check=True)
    try:
        yield at
    finally:  # after a test that failed a daemon may still hold on to it for a moment
        subprocess.run(["umount", "--lazy", at], check=True)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """A view and a plain directory on the same filesystem, for all tests of a module; checked at the end."""
    root = tmp_path_factory.mktemp("twins")
    for name in ("view", "disk"):  # of one length: what fits into a path on one side fits on the other
        (root / name).mkdir()
    mount = Mounted(root / "view").mount()
    try:
        yield Twins(mount, root / "disk")
        mount.finish()
    finally:
        clear(mount.path)
