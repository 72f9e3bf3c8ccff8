"""Page faults of many threads and processes in one mapped model, while everything else goes on (a parallel
loader over readahead is what makes others disable mmap)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.storms import model
from tests.storms.crew import Crew, Worker, crew_of
from tests.support.mounted import Mounted

SETTLE_S = 90.0
"""How long after its time a worker may still be at its last round: a verify reads all of the model from disk."""


@dataclass(frozen=True, slots=True)
class Scale:
    pages: int
    seconds: float
    threads: int
    processes: int


SMOKE = Scale(pages=8_192, seconds=1, threads=4, processes=2)
WHOLE = Scale(pages=524_288, seconds=float(os.environ.get("IPFSFS_STORM_SECONDS", "60")), threads=16, processes=8)


@pytest.mark.parametrize("scale", [SMOKE, pytest.param(WHOLE, marks=pytest.mark.campaign)], ids=["smoke", "2GB"])
@pytest.mark.timeout(3600)
def test_faults_of_many_while_others_work(mounted: Callable[..., Mounted], tmp_path: Path, scale: Scale) -> None:
    """`IPFSFS_STORM_SECONDS`: how long each of the three parts goes on (before, across and after the unmount)."""
    cache = tmp_path / "cache"
    folder = cache / "hub" / "models--storm--model"
    folder.mkdir(parents=True)
    model.write(folder / "model.bin", scale.pages)
    view = mounted(cache)
    numbers: dict[str, Any] = {"MB": scale.pages * model.PAGE // 1_000_000, "parts": []}
    with crew_of(tmp_path / "said", view) as crew:
        began = time.monotonic()
        crowd = _faulters(crew, folder / "model.bin", scale, scale.seconds)
        others = [
            crew.start("busy", what, cache / "hub", scale.seconds, seed)
            for seed, what in enumerate(("scan", "write", "write", "seal", "verify"))
        ]
        answers = crew.wait(scale.seconds + SETTLE_S, [*crowd, *others])
        numbers["parts"].append(_summary(answers))

        across = _faulters(crew, folder / "model.bin", scale, scale.seconds)
        time.sleep(scale.seconds / 2)
        old = view.pid
        view.umount("--lazy")
        view.mount()
        assert view.pid != old
        after = _faulters(crew, folder / "model.bin", scale, scale.seconds)
        others = [crew.start("busy", what, cache / "hub", scale.seconds, 10) for what in ("scan", "write", "seal")]
        numbers["parts"].append(_summary(crew.wait(scale.seconds + SETTLE_S, across)))
        numbers["parts"].append(_summary(crew.wait(scale.seconds + SETTLE_S, [*after, *others])))
        numbers["seconds"] = round(time.monotonic() - began, 1)
    print(f"\nfaults: {json.dumps(numbers)}")
    status = view.status()
    assert (status["degraded"], status["rot"], status["broken_promises"]) == ("", [], [])


def _faulters(crew: Crew, path: Path, scale: Scale, seconds: float) -> list[Worker]:
    crowd = [crew.start("faulter", path, seconds, scale.threads, 1000)]
    return crowd + [crew.start("faulter", path, seconds, 1, seed) for seed in range(scale.processes)]


def _summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums of what was counted, and the longest that any one thing took."""
    found: dict[str, Any] = {"longest_s": 0.0}
    for answer in answers:
        for what, count in answer.items():
            found[what] = max(found[what], count) if what == "longest_s" else found.get(what, 0) + count
        longest = f"longest_{next(iter(answer))}_s"
        found[longest] = max(found.get(longest, 0.0), answer["longest_s"])
    del found["longest_s"]
    return found
