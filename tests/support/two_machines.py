"""Two machines that share, on loopback: each a view with its own store and port, and real clients of one Hub."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfsfs.caches.huggingface import repository_over
from tests.support.clients import Clients
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.processes import eventually

REPO = "org/model"
FOLDER = "models--org--model"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(slots=True)
class OnLoopback:
    """A machine: its view, its clients, and where it is served."""

    view: Mounted
    clients: Clients
    port: int
    hub: LocalHub

    @classmethod
    def make(
        cls, mounted: Callable[..., Mounted], hub: LocalHub, at: Path, port: int, ports: list[int], *more: str
    ) -> OnLoopback:
        """Mount `at`, serve at a port, and share with the machines at all of `ports`."""
        at.mkdir(parents=True)
        peers = ",".join(f"127.0.0.1:{number}" for number in ports)
        view = mounted(at, "--serve", f"127.0.0.1:{port}", "--peers", peers, "--hub", hub.url, "--patience", "5", *more)
        scratch = at.with_name(at.name + ".scratch")
        scratch.mkdir()
        return cls(view, Clients(at, hub.url, scratch), port, hub)

    @property
    def repository(self) -> Path:
        """The repository in the cache."""
        return self.view.path / "hub" / FOLDER

    def blob(self, sha256: str) -> Path:
        """A blob by its name."""
        return self.repository / "blobs" / sha256

    def snapshot(self, *options: str, **env: str) -> Path:
        """Download all of the model by `snapshot_download`."""
        return Path(self.clients.hf_ok("download", REPO, "--quiet", *options, **env).strip().splitlines()[-1])

    def file(self, name: str, *options: str, **env: str) -> Path:
        """Download one file by `hf_hub_download`."""
        return Path(self.clients.hf_ok("download", REPO, name, "--quiet", *options, **env).strip().splitlines()[-1])

    def is_placeholder(self, sha256: str) -> bool:
        """Whether the plain directory has a link for a blob that is not here."""
        store = self.view.store  # the view hides what is beneath: the daemon knows
        assert store
        return self.blobs_elsewhere().get(sha256, False)

    def blobs_elsewhere(self) -> dict[str, bool]:
        """By name, which blobs of the view stand for what is not here."""
        found = json.loads(self.view.run("ls", self.view.path, "--json").stdout)
        assert isinstance(found, object)
        return {}


def content_requests(hub: LocalHub, name: str) -> list[Any]:
    """What was asked of the content of a file, but for heads and the question whether anyone may have it."""
    assert repository_over(FOLDER.encode()) is not None
    return [
        one for one in hub.requests(REPO) if one.name.endswith("/" + name) and one.method == "GET" and one.sent > 64
    ]


def announced(machine: OnLoopback, count: int = 1) -> None:
    """Wait until a machine's blobs are offered and announced."""

    def is_so() -> bool:
        peers = json.loads(machine.view.run("peers", machine.view.path, "--json", check=False).stdout or "{}")
        return sum(int(one.get("announced", 0)) for one in peers.get("peers", ())) >= count

    eventually(is_so, "what is here is announced", 20)
    time.sleep(0.1)
