"""Many machines, one download: what is taken from the Hub, how long it takes, and what lies on disks afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.site.downloads import download, load, took_s
from tests.site.sharing import REPO, end, have, holds, settled, sharing
from tests.support.llama import Llama
from tests.support.machines import Site, at_once

pytestmark = [pytest.mark.root, pytest.mark.workers]

MB = 1_000_000


def _together(site: Site, model: Llama, command: Callable[[str], list[object]], most: float) -> None:
    said = at_once([lambda m=m: m.popen(*command(REPO)) for m in site.machines])  # type: ignore[misc]
    taken = site.from_hub(REPO)
    print(
        "seconds:",
        [round(took_s(out), 1) for out in said],
        "from the Hub:",
        {k: sum(v.values()) for k, v in taken.items()},
    )
    for machine in site.machines:
        holds(machine, model)
        settled(machine)
    assert site.taken(REPO) <= most * model.size + len(site.machines) * SMALL_FILES
    for machine in site.machines:
        assert machine.disk() <= 1.1 * model.size + MB, "the bytes are there twice"
    end(site)


SMALL_FILES = 20_000
"""Bytes of a repository's configuration: a machine has them from the Hub, for their names promise no sha256."""


@pytest.mark.campaign  # on a busy machine a lock is not kept in time, and who has it downloads
def test_eight_machines_at_once_take_the_model_once(site: Callable[[int], Site], small: Llama) -> None:
    _together(sharing(site(8), small), small, download, 1.05)  # type: ignore[arg-type]


def _in_turn(site: Site, model: Llama, rate: int) -> None:
    alone = site.add()
    site.hub.limit(each=rate)
    alone_s = have(alone)  # on plain disk
    first, *others = (machine for machine in site.machines if machine is not alone)
    first_s = have(first)
    times = [have(machine) for machine in others]
    print(f"plain {alone_s:.1f} s, first {first_s:.1f} s, then", [round(time_s, 1) for time_s in times])
    assert max(times) <= alone_s / 2
    files = site.from_hub(REPO)
    assert sum(files[alone.computer.name].values()) == model.size
    assert site.taken(REPO) - model.size <= 1.05 * model.size + len(others) * SMALL_FILES
    for machine in others:
        holds(machine, model)
        assert machine.view.peers()["from_peers"] > 0.9 * model.size
    end(site)


@pytest.mark.campaign  # times: on a quiet machine
def test_machines_one_after_another_take_half_the_time(site: Callable[[int], Site], small: Llama) -> None:
    """As soon as the first client is done, with nothing waited for in between."""
    _in_turn(sharing(site(3), small), small, 8 * MB)


@pytest.mark.campaign
def test_eight_machines_load_a_large_model_at_once(site: Callable[[int], Site], large: Llama) -> None:
    _together(sharing(site(8), large), large, load, 1.05)  # type: ignore[arg-type]


@pytest.mark.campaign
def test_eight_machines_load_a_large_model_one_after_another(site: Callable[[int], Site], large: Llama) -> None:
    _in_turn(sharing(site(8), large), large, 100 * MB)
