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
from tests.support.native import CHECKED, NATIVE

pytestmark = pytest.mark.filesystem


def _run(root: Path, way: tuple[str, ...], *, examples: int, steps: int, batch: int) -> None:
    with block_server() as server:
        pair = Pair.make(root, "--gateway", server.url, "--patience", "5", *way)
        PlaceholdersAgainstPlain.server = server
        try:
            drive(PlaceholdersAgainstPlain, pair, examples=examples, steps=steps, batch=batch)
            assert (pair.native_opens() > 0) == (way is NATIVE)
        finally:
            pair.close()
            clear(pair.view.path)


@pytest.mark.parametrize(
    "way", [pytest.param(CHECKED, id="checked"), pytest.param(NATIVE, id="native", marks=pytest.mark.root)]
)
def test_a_placeholder_behaves_as_the_file_it_stands_for(tmp_path: Path, way: tuple[str, ...]) -> None:
    _run(tmp_path, way, examples=1, steps=60, batch=way is NATIVE)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_placeholder_behaves_as_the_file_it_stands_for_for_long(tmp_path: Path) -> None:
    """Examples of 200 steps, each with a seed and a mount of its own, every other natively, for
    `IPFSFS_CAMPAIGN_MINUTES` (60)."""
    until = time.monotonic() + 60 * float(os.environ.get("IPFSFS_CAMPAIGN_MINUTES", "60"))
    batch = int(os.environ.get("IPFSFS_CAMPAIGN_SEED", "1"))
    while time.monotonic() < until:
        (tmp_path / f"{batch}").mkdir()
        _run(tmp_path / f"{batch}", NATIVE if batch % 2 else CHECKED, examples=1, steps=200, batch=batch)
        batch += 1
