"""A site whose machines share one model: what most of these tests begin and end with."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.site.downloads import download
from tests.support.llama import Llama
from tests.support.machine_view import PORT
from tests.support.machines import Machine, Site, at_once
from tests.support.processes import eventually

REPO = "org/model"
FOLDER = "hub/models--org--model"


def token_of(site: Site) -> Path:
    """The file of a site's token, made at the first call."""
    token = site.root / "token"
    if not token.exists():
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
    return token


def share_all(site: Site, *arguments: str | Path, among: Sequence[Machine] | None = None, peers: str = "") -> None:
    """Mount on all machines, which share by one list and one token."""
    listed = peers or ",".join(f"{machine.address}:{PORT}" for machine in site.machines)
    at_once(
        [
            lambda m=machine: m.popen(  # type: ignore[misc]
                *(sys.executable, "-m", "ipfsfs", "mount", m.home, "--hub", site.hub.url),
                *("--serve", f"{m.address}:{PORT}", "--peers", listed, "--token-file", token_of(site), *arguments),
            )
            for machine in (among or site.machines)
        ]
    )


def sharing(site: Site, model: Llama, *arguments: str | Path) -> Site:
    """The site, with the model on its Hub, and all machines sharing."""
    site.hub.add_folder(REPO, model.folder)
    share_all(site, *arguments)
    return site


def holds(machine: Machine, model: Llama) -> None:
    """Assert that a machine's clients see the model whole and right, as the client laid it out."""
    snapshots = machine.seen(machine.home) / FOLDER / "snapshots"
    (commit,) = os.listdir(snapshots)
    found = {
        name: hashlib.sha256((snapshots / commit / name).read_bytes()).hexdigest()
        for name in os.listdir(snapshots / commit)
    }
    assert found == model.digests, f"other content on {machine.computer.name}"


def settled(machine: Machine) -> None:
    """Return when all that came is an ordinary file of the plain directory, and sealed."""
    eventually(lambda: machine.view.status()["being_put_in_place"] == 0, "what came is put in place", 60)


def announced(machine: Machine, model: Llama) -> None:
    """Return when others can have the model from a machine."""
    weights = sum(name.endswith(".safetensors") for name in model.digests)

    def offers() -> bool:
        own = [state for state in machine.view.peers()["peers"] if state["is_self"]]
        return bool(own) and own[0]["blobs"] >= weights

    eventually(offers, f"{machine.computer.name} offers the model", 60)


def have(machine: Machine) -> float:
    """Have the model by `snapshot_download`; returns how many seconds that took."""
    return float(machine.run(*download(REPO), timeout=200).stdout.splitlines()[-1].split()[0])


def end(site: Site) -> None:
    """Unmount everywhere, as users do."""
    for machine in site.machines:
        if not machine.is_off and machine.view.is_mounted:
            machine.view.umount()
