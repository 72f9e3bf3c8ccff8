"""The view against a plain directory as its model, driven by hypothesis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.example import Example
from tests.stateful.machine import ViewAgainstPlain
from tests.stateful.pair import Pair
from tests.support.mounted import clear

pytestmark = pytest.mark.filesystem

BATCH: Final = 20
"""Examples of the long run between two looks at the clock; each batch has a seed and a mount of its own."""
EXAMPLES: Final = 1_000
STEPS: Final = 200


@contextmanager
def new_pair(root: Path) -> Iterator[Pair]:
    pair = Pair.make(root)
    try:
        yield pair
    finally:
        pair.close()
        clear(pair.view.path)


def drive(machine: type[Example], pair: Pair, *, examples: int, steps: int, batch: int) -> None:
    """Run that many examples; the same batch number brings the same examples.

    A failure is shown as it was found: making it smaller would take many mounts.
    """
    machine.pair = pair
    run_state_machine_as_test(
        seed(batch)(machine),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_view_behaves_as_the_filesystem_below(tmp_path: Path) -> None:
    with new_pair(tmp_path) as pair:
        drive(ViewAgainstPlain, pair, examples=8, steps=200, batch=0)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_the_view_behaves_as_the_filesystem_below_for_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 examples of 200 steps. `IPFSFS_CAMPAIGN_MINUTES` limits one run; `IPFSFS_CAMPAIGN_STATE`, a file, remembers
    which batches are done, so that the next run goes on."""
    until = time.monotonic() + 60 * float(os.environ.get("IPFSFS_CAMPAIGN_MINUTES", "inf"))
    state = Path(os.environ.get("IPFSFS_CAMPAIGN_STATE", tmp_path / "done"))
    state.touch()
    batches = range(1, EXAMPLES // BATCH + 1)
    for batch in batches:
        done = [int(line) for line in state.read_text().split()]
        if batch not in done and time.monotonic() < until:
            (tmp_path / f"{batch}").mkdir()
            with new_pair(tmp_path / f"{batch}") as pair:
                drive(ViewAgainstPlain, pair, examples=BATCH, steps=STEPS, batch=batch)
            with state.open("a") as file:
                file.write(f"{batch}\n")
    examples = len(set(state.read_text().split())) * BATCH
    with capsys.disabled():
        print(f"\n{examples} of {EXAMPLES} examples of {STEPS} steps are done")
