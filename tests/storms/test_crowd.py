"""Two hundred processes open, read and map one file at the same moment."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storms.crew import crew_of
from tests.support.mounted import Mounted

DEADLINE_S = 300.0
ROUNDS = 6


@pytest.mark.parametrize(
    ("processes", "size"), [(24, 1_000_001), pytest.param(200, 32_000_001, marks=pytest.mark.campaign)]
)
@pytest.mark.timeout(3600)
def test_a_crowd_at_one_file(mounted: Callable[..., Mounted], tmp_path: Path, processes: int, size: int) -> None:
    """Cold and not sealed, then sealed and from what is cached, then sealed and cold, in turns."""
    view = mounted()
    file = view.path / "model.bin"
    file.write_bytes(os.urandom(size))
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    numbers = []
    for turn in range(ROUNDS if processes == 200 else 3):
        with file.open("rb") as opened:
            if turn % 2 == 0:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with crew_of(tmp_path / f"said-{turn}", view) as crew:
            crew.start("crowd", file, processes, expected)
            numbers += crew.wait(DEADLINE_S)
        view.seal()
    print(f"\na crowd at one file of {size} bytes: {json.dumps(numbers)}")
    assert view.status()["open_files"] == 0
