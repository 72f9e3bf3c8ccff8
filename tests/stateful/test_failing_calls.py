"""The view against a plain directory on a disk that has its troubles: a call that fails changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stateful.machine import ViewOnTroubledDisk
from tests.stateful.pair import Pair
from tests.stateful.test_differential import drive
from tests.stateful.troubles import new_disk
from tests.support.mounted import clear
from tests.support.native import CHECKED, NATIVE
from tests.support.processes import wait_until_unused

pytestmark = [pytest.mark.root, pytest.mark.filesystem]


@pytest.mark.parametrize("way", [CHECKED, NATIVE], ids=["checked", "native"])
def test_a_call_that_fails_fails_as_below_and_costs_no_seal(
    tmp_path: Path, pytestconfig: pytest.Config, way: tuple[str, ...]
) -> None:
    """The store lies elsewhere: a disk that is full costs an index that lies on it."""
    with new_disk(pytestconfig.getoption("filesystem") or "ext4", tmp_path) as disk:
        pair = Pair.make(disk.room, "--allow-other", "--store", str(tmp_path / "store"), *way)
        try:
            ViewOnTroubledDisk.disk = disk
            drive(ViewOnTroubledDisk, pair, examples=2, steps=80, batch=way is NATIVE)
            assert (pair.native_opens() > 0) == (way is NATIVE)
        finally:
            pair.close()
            clear(pair.view.path)
            wait_until_unused(tmp_path, within_s=60)
