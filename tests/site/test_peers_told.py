"""What `ipfsfs peers`, `top` and `metrics` say of a site."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.site.downloads import download
from tests.site.sharing import REPO, announced, end, have, settled, share_all, token_of
from tests.support.llama import Llama
from tests.support.machines import Site
from tests.support.processes import eventually

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
    found: dict[str, dict[str, Any]] = {}

    def knows_itself() -> bool:  # on a busy computer an answer may take longer than it may
        found.update((state["address"], state) for state in first.view.peers()["peers"])
        return bool(found[f"{first.address}:4780"]["is_self"])

    eventually(knows_itself, "the machine answers itself")
    nobody = found[f"{second.address}:4780"]  # the machine is there, and serves nothing
    assert (nobody["answers"], "refused" in nobody["why"]) == (False, True)
    absent = found["10.77.0.200:4780"]
    assert not absent["answers"]
    assert absent["why"]
    said = first.view.run("peers").stdout
    assert nobody["why"] in said
    assert json.loads(first.view.run("peers", first.home, "--json").stdout)["listed"].count(",") == 2
    first.view.umount()


def test_what_came_from_whom_and_what_was_spared(site: Callable[[int], Site], small: Llama) -> None:
    """On both sides; and that another machine has another list, or another token."""
    here = site(3)
    here.hub.add_folder(REPO, small.folder)
    first, second, third = here.machines
    pair = ",".join(f"{machine.address}:4780" for machine in (first, second))
    share_all(here, among=[first, second], peers=pair)
    have(first)
    announced(first, small)
    have(second)
    settled(second)
    weights = sum(path.stat().st_size for path in small.folder.glob("*.safetensors"))

    # What was given is told once a second.
    eventually(lambda: first.view.peers()["gave"] > 0.9 * weights, "the first says what it gave")
    gave, took = first.view.peers(), second.view.peers()
    assert took["from_peers"] + took["from_hub"] >= weights
    assert took["from_peers"] > 0.9 * weights
    assert (took["downloaded"], took["from_others"]) == (0, 0)
    blocks = sum(state["gave_bytes"] for state in took["peers"])  # leaves, and the nodes that name them
    assert took["from_peers"] <= blocks < 1.01 * took["from_peers"]
    assert gave["downloaded"] == weights
    said = second.view.run("peers").stdout
    assert "The origin was spared" in said
    once = json.loads(second.view.run("top", second.home, "--once", "--json", "--interval", "0.1").stdout)
    by_source = {one["of"]: one["value"] for one in once["metrics"] if one["name"] == "ipfsfs_source_bytes_total"}
    assert by_source["peers"] == took["from_peers"]
    assert "from other machines" in second.view.run("top", second.home, "--once", "--interval", "0.1").stdout

    third.view.share(token=token_of(here))  # its list has three
    other = f"{first.address}:4780"
    states = {state["address"]: state for state in third.view.peers()["peers"]}
    assert (states[other]["answers"], states[other]["same_list"]) == (True, False)
    assert f"Another list of machines than here: {other}" in third.view.run("peers").stdout
    third.view.umount()
    wrong = here.root / "wrong"
    wrong.touch(0o600)
    wrong.write_text("1" * 64)
    third.view.share(token=wrong)
    states = {state["address"]: state for state in third.view.peers()["peers"]}
    assert not states[other]["answers"]
    assert "token" in states[other]["why"]
    end(here)
