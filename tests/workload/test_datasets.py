"""datasets loads and maps through the mount; what it caches is found again whatever is mounted or not."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import LocalHub
from tests.support.places import Place, make_place

pytestmark = pytest.mark.workers

ROWS = 10_000


@pytest.fixture(scope="module")
def rows(hub: LocalHub) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": [f"row {i} " * 20 for i in range(ROWS)], "id": list(range(ROWS))})
    file = io.BytesIO()
    parquet.write_table(table, file)
    files = {"data/train-00000-of-00001.parquet": file.getvalue(), "README.md": b"---\nlicense: mit\n---\n"}
    hub.add("tests/rows", files, kind="datasets")


@pytest.mark.usefixtures("rows")
def test_load_and_map(twice: Any) -> None:
    """Arrow is written, mapped, derived from and mapped again; a second process finds it all in the cache."""

    def load_and_map(place: Place) -> Any:
        first = place.clients.run("dataset")
        again = place.clients.run("dataset")
        assert (first["written"], again["written"]) == (3, 0)
        assert {**again, "written": 3} == first
        # Fingerprints hash the paths and times of the Arrow files: they cannot be the same in two places.
        return {key: first[key] for key in ("rows", "columns", "content")}

    done = twice(load_and_map)
    assert done["rows"] == ROWS
    assert done["columns"] == ["text", "id", "length", "upper"]


@pytest.mark.usefixtures("rows")
def test_fingerprints_stay_the_same(hub: LocalHub, mounted: Callable[..., Any], tmp_path: Path) -> None:
    """Mounted, mounted again, unmounted, daemon killed: the times are the files' own, so nothing is computed twice."""
    mount = mounted()
    place = make_place(mount.path, hub, tmp_path / "scratch")
    first = place.clients.run("dataset")
    cached = {**first, "written": 0}

    mount.remount()
    assert place.clients.run("dataset") == cached
    mount.umount()
    assert place.clients.run("dataset", HF_HUB_OFFLINE="1") == cached
    mount.remount()
    mount.kill()
    assert place.clients.run("dataset", HF_HUB_OFFLINE="1") == cached
    mount.remount()
    (arrow,) = mount.path.rglob("rows-train.arrow")
    os.utime(arrow, (1, 1))
    assert place.clients.run("dataset")["written"] == 1, "this test would not notice a time that changes"
