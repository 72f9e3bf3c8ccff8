"""Files that are not here against files on plain disk: before they are fetched, meanwhile, and after it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.stateful.machine import PlaceholdersAgainstPlain
from tests.stateful.pair import Pair
from tests.stateful.test_differential import drive
from tests.support.block_server import block_server
from tests.support.mounted import clear

pytestmark = pytest.mark.filesystem


def _run(root: Path, *, examples: int, steps: int, batch: int) -> None:
    with block_server() as server:
        pair = Pair.make(root, "--gateway", server.url, "--patience", "5")
        PlaceholdersAgainstPlain.server = server
        try:
            drive(PlaceholdersAgainstPlain, pair, examples=examples, steps=steps, batch=batch)
        finally:
            pair.close()
            clear(pair.view.path)


def test_a_placeholder_behaves_as_the_file_it_stands_for(tmp_path: Path) -> None:
    _run(tmp_path, examples=2, steps=60, batch=0)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_placeholder_behaves_as_the_file_it_stands_for_for_long(tmp_path: Path) -> None:
    """Examples of 200 steps, each with a seed and a mount of its own, for `IPFSFS_CAMPAIGN_MINUTES` (60)."""
    until = time.monotonic() + 60 * float(os.environ.get("IPFSFS_CAMPAIGN_MINUTES", "60"))
    batch = int(os.environ.get("IPFSFS_CAMPAIGN_SEED", "1"))
    while time.monotonic() < until:
        (tmp_path / f"{batch}").mkdir()
        _run(tmp_path / f"{batch}", examples=1, steps=200, batch=batch)
        batch += 1
