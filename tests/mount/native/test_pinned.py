"""Native files that a pin holds by a second name in the store: what is written natively must not reach it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.mounted import Mounted
from tests.support.native import Mapping, read_by_the_kernel
from tests.support.rot import Disk, spoilable_disk

pytestmark = pytest.mark.root

DATA: Final = random.Random(54).randbytes(1_000_000)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An ext4, which shares no blocks: a pin is a second name there."""
    with spoilable_disk(tmp_path) as made:
        yield made


def test_what_is_written_natively_leaves_what_a_pin_holds_alone(disk: Disk, mounted: Callable[..., Mounted]) -> None:
    mount = mounted(disk.cache, "--check", "native")
    path = mount.path / "file"
    path.write_bytes(DATA)
    mount.seal()
    with path.open("rb"):
        mount.run("pin", "add", path)
        (kept,) = (file for file in (mount.store / "extents" / "pinned").iterdir() if file.stat().st_nlink == 2)
        assert read_by_the_kernel(mount, path)
        with path.open("r+b") as writer:
            mapping = Mapping(writer.fileno(), len(DATA), writes=True)
            writer.write(b"new")
    mapping.bytes[500_000] ^= 1
    mapping.close()
    assert path.read_bytes()[:3] == b"new"
    assert kept.read_bytes() == DATA
