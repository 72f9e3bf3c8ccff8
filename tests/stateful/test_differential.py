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
from tests.stateful.machine import ViewAgainstPlain, ViewReadNatively
from tests.stateful.native_rules import USES
from tests.stateful.pair import Pair
from tests.support.mounted import clear
from tests.support.native import CHECKED, NATIVE

pytestmark = pytest.mark.filesystem

BATCH: Final = 20
"""Examples of the long run between two looks at the clock; each batch has a seed and a mount of its own."""
EXAMPLES: Final = 1_000
STEPS: Final = 200


WAYS: Final[dict[str, tuple[type[Example], tuple[str, ...]]]] = {
    "checked": (ViewAgainstPlain, CHECKED),
    "native": (ViewReadNatively, NATIVE),
}
"""How sealed files are read: by the daemon, or by the kernel itself."""


@contextmanager
def new_pair(root: Path, *arguments: str) -> Iterator[Pair]:
    pair = Pair.make(root, *arguments)
    try:
        yield pair
    finally:
        pair.close()
        clear(pair.view.path)


def drive(machine: type[Example], pair: Pair, *, examples: int, steps: int, batch: int) -> None:
    """Run that many examples; the same batch number brings the same examples. Before them comes the simplest one, with
    which hypothesis begins: nothing is drawn, and its steps are all the same.

    A failure is shown as it was found: making it smaller would take many mounts.
    """
    machine.pair = pair
    run_state_machine_as_test(
        seed(batch)(machine),
        settings=settings(
            max_examples=examples + 1,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def run(root: Path, way: str, *, examples: int, steps: int, batch: int) -> None:
    """Run that many examples where sealed files are read that way, and see that they were."""
    machine, arguments = WAYS[way]
    ViewReadNatively.used.clear()
    with new_pair(root, *arguments) as pair:
        drive(machine, pair, examples=examples, steps=steps, batch=batch)
        native = pair.native_opens()
    if way == "checked":
        assert not native
        return
    used = ViewReadNatively.used
    print(f"{native} native opens; used while native: {dict(used)}")
    assert native >= 20 * examples
    assert set(USES) == set(used), "files were not native while they were used so"


@pytest.mark.parametrize("way", ["checked", pytest.param("native", marks=pytest.mark.root)])
def test_the_view_behaves_as_the_filesystem_below(tmp_path: Path, way: str) -> None:
    run(tmp_path, way, examples=4, steps=200, batch=0)


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_the_view_behaves_as_the_filesystem_below_for_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 examples of 200 steps, every other batch with native files. `IPFSFS_CAMPAIGN_MINUTES` limits one run;
    `IPFSFS_CAMPAIGN_STATE`, a file, remembers which batches are done, so that the next run goes on."""
    until = time.monotonic() + 60 * float(os.environ.get("IPFSFS_CAMPAIGN_MINUTES", "inf"))
    state = Path(os.environ.get("IPFSFS_CAMPAIGN_STATE", tmp_path / "done"))
    state.touch()
    batches = range(1, EXAMPLES // BATCH + 1)
    for batch in batches:
        done = [int(line) for line in state.read_text().split()]
        if batch not in done and time.monotonic() < until:
            (tmp_path / f"{batch}").mkdir()
            run(tmp_path / f"{batch}", list(WAYS)[batch % 2], examples=BATCH, steps=STEPS, batch=batch)
            with state.open("a") as file:
                file.write(f"{batch}\n")
    examples = len(set(state.read_text().split())) * BATCH
    with capsys.disabled():
        print(f"\n{examples} of {EXAMPLES} examples of {STEPS} steps are done")
