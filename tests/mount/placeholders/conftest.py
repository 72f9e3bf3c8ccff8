"""What tests of files by CID share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.mounted import Mounted


@pytest.fixture
def alone(mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[Mounted]:
    """A view that knows no origin. It is unmounted with what is in it: files that became resident meanwhile."""
    path = tmp_path / "view"
    path.mkdir()
    view = mounted(path)
    yield view
    if view.mounted:
        view.umount()
