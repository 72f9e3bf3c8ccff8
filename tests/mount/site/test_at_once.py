"""Machines that start at once take a model from the Hub once, whatever its shape and the Hub's speed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.site import free_port
from tests.support.two_machines import REPO, OnLoopback, taken
from tests.support.weights import safetensors

# On a busy machine a lock is not kept in time, and who has it downloads.
pytestmark = pytest.mark.campaign


def shards(count: int, size: int) -> dict[str, bytes]:
    """Files of weights, no two alike."""
    return {f"{n}.safetensors": safetensors({"a": random.Random(n).randbytes(size)}) for n in range(count)}


def downloaded_at_once(
    count: int, files: Mapping[str, bytes], rate: int, mounted: Callable[..., Mounted], at: Path
) -> float:
    """Have machines download a model at once, each of its files at so many bytes/s at most. Returns how much of it the
    Hub has sent, in sizes of the model."""
    with LocalHub(at / "served") as hub:
        hub.add(REPO, {**files, "config.json": b"{}"})
        for name in files:
            hub.spoil(REPO, name, rate=rate)
        ports = [free_port() for _ in range(count)]
        machines = [
            OnLoopback.make(mounted, hub, at / f"m{n}", [ports[n], *ports[:n], *ports[n + 1 :]]) for n in range(count)
        ]
        downloads = [threading.Thread(target=machine.download) for machine in machines]
        for download in downloads:
            download.start()
        for download in downloads:
            download.join(240)
        for machine in machines:
            for data in files.values():
                assert machine.blob(data).read_bytes() == data
        sent = sum(request.sent for name in files for request in taken(hub, name))
        return sent / sum(map(len, files.values()))


def test_h46_files_that_share_a_link_are_downloaded_once(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """One range of the Hub comes quicker than each of five files that are downloaded at once."""
    assert downloaded_at_once(3, shards(5, 50_000_000), 50_000_000, mounted, tmp_path) <= 1.05


@pytest.mark.timeout(400)
def test_h46_more_files_than_a_client_downloads_at_once_are_downloaded_once(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """The client begins eight; and of none is anything seen before it is here, for it writes 10 MB at once."""
    assert downloaded_at_once(3, shards(12, 8_000_000), 600_000, mounted, tmp_path) <= 1.05
