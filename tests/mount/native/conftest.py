"""A disk whose filesystem checks what it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.filesystems import mounted_image, new_image
from tests.support.mounted import Mounted


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of an empty Btrfs, for all tests of this directory."""
    at = tmp_path_factory.mktemp("btrfs")
    with mounted_image(new_image(at / "image", "btrfs", 2048), at / "disk") as disk:
        yield disk


@pytest.fixture
def native(btrfs: Path, request: pytest.FixtureRequest, unasked: None, mounted: Callable[..., Mounted]) -> Mounted:
    """A view where the kernel may read files itself."""
    path = btrfs / request.node.name
    path.mkdir()
    return mounted(path)
