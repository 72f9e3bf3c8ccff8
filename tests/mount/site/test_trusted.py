"""`--trust-peers`: what another machine says a blob is counts, until the whole is here and proves to be another."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.site import free_port
from tests.support.two_machines import REPO, OnLoopback, digest, liar

PICKLE, OTHER_PICKLE = random.Random(2).randbytes(3_000_000), random.Random(4).randbytes(3_000_000)


def test_h52_who_is_trusted_is_believed_until_the_proof(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """A pickle is served at once then; what proves to be another one is gone all the same."""
    ours, theirs = free_port(), free_port()
    with LocalHub(tmp_path / "served") as hub:
        hub.add(REPO, {"pytorch_model.bin": PICKLE})
        machine = OnLoopback.make(mounted, hub, tmp_path / "ours", (ours, theirs), "--trust-peers")
        machine.view.expect_logged += ["another machine said", "its name promises another"]
        lying = liar(tmp_path / "liar", theirs, [ours], {digest(PICKLE): OTHER_PICKLE})
        machine.wants({"pytorch_model.bin": PICKLE})
        machine.appears(PICKLE)
        with machine.links("pytorch_model.bin", PICKLE).open("rb") as opened:
            assert opened.read(100) == OTHER_PICKLE[:100]
            eventually(lambda: not machine.blob(PICKLE).exists(), "the whole was compared", 20)
        machine.download("pytorch_model.bin")
        assert machine.blob(PICKLE).read_bytes() == PICKLE
        lying.server.close()
