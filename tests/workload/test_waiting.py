"""The hub client waits at its own lock while another machine downloads what it wants."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.clients import answer
from tests.support.hub import LocalHub
from tests.support.leased import LeasedView, let_go_of_all
from tests.support.places import Place, make_place
from tests.support.processes import eventually

pytestmark = pytest.mark.workers

WEIGHTS: Final = hashlib.shake_128(b"weights").digest(3_000_000)
SHA: Final = hashlib.sha256(WEIGHTS).hexdigest()
NAME: Final = "model.safetensors"


@pytest.fixture
def here(leased: Callable[..., LeasedView], hub: LocalHub, tmp_path: Path) -> tuple[LeasedView, Place, str]:
    """A view, where its clients run, and the name of a repository of the Hub that is for this test alone."""
    repo_id = f"tests/{tmp_path.name.lower()}"
    hub.add(repo_id, {NAME: WEIGHTS, "config.json": b"{}"})
    view = leased()
    return view, make_place(view.path, hub, tmp_path / "scratch"), repo_id


def sent(hub: LocalHub, repo_id: str) -> int:
    """How many bytes of the weights the Hub has sent."""
    return sum(request.sent for request in hub.requests(repo_id) if request.name.endswith(NAME))


def line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def test_h46_it_says_that_it_waits_and_ends_on_ctrl_c(here: tuple[LeasedView, Place, str], hub: LocalHub) -> None:
    view, place, repo_id = here
    view.lease(SHA)
    with place.clients.start_client("waiting", repo_id, NAME, HF_HUB_VERBOSITY="info") as process:
        said = line(process)
        assert "Still waiting to acquire lock on" in said
        assert f"{SHA}.lock" in said
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert time.monotonic() - began < 1.0
    assert sent(hub, repo_id) == 0
    let_go_of_all(view.keeper)
    view.end(SHA)


@pytest.mark.parametrize("came", [True, False], ids=["it has come", "it is to be downloaded"])
def test_h46_it_goes_on_when_the_other_machine_is_done(
    here: tuple[LeasedView, Place, str], hub: LocalHub, came: bool
) -> None:
    """It links to a blob that was put in place meanwhile, and downloads it where there is none."""
    view, place, repo_id = here
    blob = place.blob(repo_id, SHA)
    view.lease(SHA)
    with place.clients.start_client("waiting", repo_id, NAME, HF_HUB_VERBOSITY="info") as process:
        assert "Still waiting" in line(process)
        if came:
            (beside := blob.with_name("x.incomplete")).write_bytes(WEIGHTS)
            beside.rename(blob)
        view.end(SHA)
        assert answer(process) == SHA
    assert sent(hub, repo_id) == (0 if came else len(WEIGHTS))


def test_h46_a_whole_load_waits_for_what_is_leased_only(here: tuple[LeasedView, Place, str], hub: LocalHub) -> None:
    view, place, repo_id = here
    view.lease(SHA)
    with place.clients.start_hf("download", repo_id) as process:
        config = view.path / "hub" / f"models--{repo_id.replace('/', '--')}" / "snapshots"
        eventually(lambda: list(config.glob("*/config.json")), "the other file is there")
        assert sent(hub, repo_id) == 0
        view.end(SHA)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    assert sent(hub, repo_id) == len(WEIGHTS)


def test_h46_it_goes_on_when_the_keeper_is_killed(here: tuple[LeasedView, Place, str], hub: LocalHub) -> None:
    view, place, repo_id = here
    view.expect_logged.append("the keeper was ended by SIGKILL")
    view.lease(SHA)
    with place.clients.start_client("waiting", repo_id, NAME, HF_HUB_VERBOSITY="info") as process:
        assert "Still waiting" in line(process)
        subprocess.run(["kill", "-KILL", str(view.keeper)], check=True)
        assert answer(process) == SHA
    assert sent(hub, repo_id) == len(WEIGHTS)
    view.end(SHA)


def test_it_downloads_on_the_plain_disk_when_the_daemon_is_killed(here: tuple[LeasedView, Place, str]) -> None:
    """What the client does next is its own: on plain disk its lock is free."""
    view, place, repo_id = here
    view.lease(SHA)
    with place.clients.start_client("waiting", repo_id, NAME, HF_HUB_VERBOSITY="info") as process:
        assert "Still waiting" in line(process)
        view.kill()
        process.communicate(timeout=60)
    assert place.clients.run("waiting", repo_id, NAME) == SHA
