"""Who asks whom, where many machines load one file at once: the simulation of docs/performance.md, in small."""

from __future__ import annotations

import statistics

import pytest

from tests.bench.placement import LEAVES, simulate


def test_each_leaf_comes_from_the_holder_once() -> None:
    came = simulate("nothing is lost", machines=16)
    assert came.origin == 0
    assert came.holder < 1.1
    assert came.requests < 1.2 * LEAVES


@pytest.mark.parametrize("machines", [2, 3, 16])
def test_a_machine_that_is_alone_has_all_in_the_time_of_one_link(machines: int) -> None:
    came = simulate("all but one have it", machines=machines, holders=machines - 1)
    assert came.origin == 0
    assert came.most <= LEAVES + 2
    assert came.took_s < 2.5


def test_a_holder_that_is_lost_costs_about_a_download() -> None:
    """Not one for each of the seven machines (6.2). Who asks first is chance: 37 simulations gave 0.84 to 1.32.
    The mean is 1.05, and the standard deviation of a mean of nine 0.04."""
    came = [simulate("the holder is lost", machines=8, lost=1, when_s=1.0).origin for _ in range(9)]
    assert statistics.fmean(came) < 1.25
