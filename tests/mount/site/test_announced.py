"""What was downloaded for all is sealed and announced at once, however much the first machine's programs load."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.two_machines import REPO, two

WEIGHTS = os.urandom(20_000_000)
HELD_S = 5.0
"""How long sealing rests otherwise, while programs open files."""


def test_the_seal_that_others_wait_for_does_not_rest(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    with LocalHub(tmp_path / "served") as hub:
        hub.add(REPO, {"model.safetensors": WEIGHTS, "config.json": b"{}"})
        one, _ = two(mounted, hub, tmp_path)
        other_file = one.view.path / "of-another-program"
        other_file.write_bytes(b"1")
        client = threading.Thread(target=one.download)
        client.start()
        eventually(one.blob(WEIGHTS).exists, "it is downloaded", 60)
        named_at = time.monotonic()
        while not any(peer["announced"] for peer in one.peers()):
            for _ in range(5):
                other_file.read_bytes()
                time.sleep(0.05)
        assert time.monotonic() - named_at < HELD_S
        client.join()
