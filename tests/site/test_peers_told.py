"""What `ipfsfs peers`, `top` and `metrics` say of a site."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.site.downloads import download
from tests.support.llama import Llama
from tests.support.machines import Site

pytestmark = [pytest.mark.root, pytest.mark.workers]


def test_a_machine_alone_says_so(site: Callable[[int], Site], small: Llama) -> None:
    """Without peers: what it downloaded itself, and how to change that."""
    here = site(1)
    (machine,) = here.machines
    here.hub.add_folder("org/small", small.folder)
    machine.view.mount()
    machine.run(*download("org/small"))

    said = machine.view.run("peers").stdout
    facts = machine.view.peers()

    assert "mount with --peers" in said
    assert "mount --serve" in said
    weights = sum(path.stat().st_size for path in small.folder.glob("*.safetensors"))
    assert (facts["peers"], facts["downloaded"], facts["from_peers"]) == ([], weights, 0)
    metrics = machine.view.run("metrics", machine.home).stdout
    assert f'ipfsfs_source_bytes_total{{source="downloads"}} {weights}' in metrics
    machine.view.umount()


def test_peers_that_do_not_answer_are_told_with_the_reason(site: Callable[[int], Site]) -> None:
    here = site(2)
    first, second = here.machines
    first.view.share(peers=f"{first.address}:4780,{second.address}:4780,10.77.0.200:4780")
    found = {state["address"]: state for state in first.view.peers()["peers"]}

    assert found[f"{first.address}:4780"]["is_self"]
    nobody = found[f"{second.address}:4780"]  # the machine is there, and serves nothing
    assert (nobody["answers"], "refused" in nobody["why"]) == (False, True)
    absent = found["10.77.0.200:4780"]
    assert not absent["answers"]
    assert absent["why"]
    said = first.view.run("peers").stdout
    assert nobody["why"] in said
    assert json.loads(first.view.run("peers", first.home, "--json").stdout)["listed"].count(",") == 2
    first.view.umount()
