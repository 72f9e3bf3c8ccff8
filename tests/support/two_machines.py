"""Machines that share, on loopback: each a view with its own store and port, and real clients of one Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

from ipfsfs.origins.peer_messages import Announced
from tests.support.clients import Clients
from tests.support.hub import LocalHub, Request
from tests.support.mounted import Mounted
from tests.support.processes import eventually
from tests.support.site import Machine, free_port

REPO = "org/model"
FOLDER = "models--org--model"


def digest(data: bytes) -> str:
    """The name of a blob."""
    return sha256(data).hexdigest()


@dataclass(slots=True)
class OnLoopback:
    """A machine: its view, its clients, and where it is served."""

    view: Mounted
    clients: Clients
    port: int
    hub: LocalHub

    @classmethod
    def make(
        cls, mounted: Callable[..., Mounted], hub: LocalHub, at: Path, ports: Sequence[int], *more: str
    ) -> OnLoopback:
        """Mount `at`, serve at the first of `ports`, and share with the machines at all of them."""
        at.mkdir(parents=True)
        scratch = at.with_name(at.name + ".scratch")
        scratch.mkdir()
        peers = ",".join(f"127.0.0.1:{port}" for port in sorted(ports))
        where = "--serve", f"127.0.0.1:{ports[0]}", "--peers", peers, "--hub", hub.url
        return cls(mounted(at, *where, *more), Clients(at, hub.url, scratch), ports[0], hub)

    @property
    def repository(self) -> Path:
        """The repository in the cache."""
        return self.view.path / "hub" / FOLDER

    def blob(self, content: bytes | str) -> Path:
        """A blob, by its content or name."""
        return self.repository / "blobs" / (content if isinstance(content, str) else digest(content))

    def download(self, *words: str, **env: str) -> Path:
        """Download all of the model, or the files that are named, by the `hf` command."""
        return Path(self.clients.hf_ok("download", REPO, "--quiet", *words, **env).strip().splitlines()[-1])

    def wants(self, files: dict[str, bytes]) -> None:
        """Have a listing that names files, as a client is about to write it, and the directories that it makes."""
        entries = {
            path: {"size": len(data), "blob_id": "0" * 40, "lfs_sha256": digest(data), "lfs_size": len(data)}
            for path, data in files.items()
        }
        for name in ("blobs", "trees"):
            (self.repository / name).mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format_version": 1, "files": entries})
        (self.repository / "trees" / "tmp12345678").write_text(text)
        (self.repository / "trees" / "tmp12345678").rename(self.repository / "trees" / f"{'1' * 40}.json")

    def links(self, path: str, content: bytes) -> Path:
        """A link of a snapshot to a blob, as a client makes it."""
        link = self.repository / "snapshots" / ("1" * 40) / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{digest(content)}")
        return link

    def appears(self, content: bytes, within_s: float = 5.0) -> Path:
        """Wait until a blob is there that was not downloaded."""
        eventually(self.blob(content).exists, "another machine's blob is there", within_s)
        return self.blob(content)

    def bring_all(self) -> None:
        """Have all of the view here, while those who have it are there."""
        for path in self.view.path.rglob("*"):
            if path.is_file():
                path.read_bytes()
        self.view.settle()

    def peers(self) -> list[dict[str, Any]]:
        """What `peers --json` says of each machine."""
        found: list[dict[str, Any]] = json.loads(self.view.run("peers", self.view.path, "--json").stdout)["peers"]
        return found

    def from_peers(self) -> int:
        """How many bytes came from other machines."""
        return int(json.loads(self.view.run("peers", self.view.path, "--json").stdout)["from_peers"])

    def announced(self, count: int = 1) -> None:
        """Wait until so many blobs are known at the site."""
        eventually(lambda: max(one["announced"] for one in self.peers()) >= count, "what is here is announced", 20)


def two(mounted: Callable[..., Mounted], hub: LocalHub, at: Path, *more: str) -> tuple[OnLoopback, OnLoopback]:
    """Two machines that know each other."""
    one, other = free_port(), free_port()
    return (
        OnLoopback.make(mounted, hub, at / "one", (one, other), *more),
        OnLoopback.make(mounted, hub, at / "two", (other, one), *more),
    )


def taken(hub: LocalHub, name: str) -> list[Request]:
    """The requests for a file's content that brought more than a range to see who may have it."""
    asked = [one for one in hub.requests(REPO) if one.name.endswith("/" + name) and one.method == "GET"]
    return [one for one in asked if one.sent > 1_000]


def liar(at: Path, port: int, others: list[int], told: dict[str, bytes]) -> Machine:
    """A machine that says of names what they are not, and has that. `told`: the sha256 that it speaks of, and what it
    has."""
    peers = ",".join(f"127.0.0.1:{one}" for one in sorted([port, *others]))
    machine = Machine(at, "f" * 32, port, peers)
    blobs = [
        Announced(bytes.fromhex(name), machine.server.offer(name, data), len(data), True) for name, data in told.items()
    ]
    machine.server.start()

    async def announce() -> None:
        async with machine.fetcher() as fetcher:
            await fetcher.announce(blobs)

    trio.run(announce)
    return machine
