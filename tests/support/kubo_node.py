"""A Kubo that runs: on loopback, in a private swarm, with a repository that is gone when the tests are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ipfsfs.unixfs import cid
from tests.support.kubo import binary

CANARY: Final = "canary-of-the-node"
"""The credentials of its RPC, by TCP and by its Unix socket."""
_SWARM_KEY: Final = "/key/swarm/psk/1.0.0/\n/base16/\n" + "5a" * 32 + "\n"
_READY: Final = b"Daemon is ready"
_SETTINGS: Final[dict[str, object]] = {
    "Plugins.Plugins.telemetry.Disabled": True,
    "API.Authorizations": {"tests": {"AuthSecret": f"bearer:{CANARY}", "AllowedPaths": ["/api/v0"]}},
    "Gateway.NoFetch": True,
    "Provide.Enabled": False,
}

SWARM: Final[dict[str, object]] = {"Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"], "Swarm.DisableNatPortMap": True}
"""Settings of a node that others may `join`."""


class KuboNode:
    """`start` and `stop` it; it listens at the same places each time. `settings`: dotted keys of its configuration."""

    def __init__(self, directory: Path, settings: dict[str, object] | None = None) -> None:
        self._binary = binary()
        # The path of a socket is short, and that of a test's directory is not.
        self._sockets = Path(tempfile.mkdtemp(prefix="ipfsfs-kubo-"))
        self._repository = directory / "repository"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "IPFS_PATH": str(self._repository),
            "IPFS_TELEMETRY": "off",
            "LIBP2P_FORCE_PNET": "1",
        }
        self._daemon: subprocess.Popen[bytes] | None = None
        self._run("init", "--profile=test,unixfs-v1-2025", "--empty-repo")
        (self._repository / "swarm.key").write_text(_SWARM_KEY)
        self.socket = self._sockets / "api"
        listening = {"Addresses.API": ["/ip4/127.0.0.1/tcp/0", f"/unix{self.socket}"]}
        self._configure({**_SETTINGS, **listening, **(settings or {})})
        self.api = self.gateway = ""

    def start(self) -> None:
        """Start the daemon, and return when it answers."""
        assert self._daemon is None
        self._daemon = subprocess.Popen(
            [self._binary, "daemon"], env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._daemon.stdout is not None
        said = []
        for line in self._daemon.stdout:
            said.append(line)
            if _READY in line:
                break
        else:
            raise AssertionError(b"".join(said).decode(errors="replace"))
        if not self.api:
            self._find_addresses()

    def stop(self) -> None:
        """End the daemon."""
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.terminate()
            daemon.communicate(timeout=20)
            self._configure(
                {
                    "Addresses.API": [_multiaddr(self.api), f"/unix{self.socket}"],
                    "Addresses.Gateway": _multiaddr(self.gateway),
                }
            )

    def close(self) -> None:
        """End the daemon for good."""
        self.stop()
        shutil.rmtree(self._sockets)

    def ask(self, *arguments: str) -> str:
        """What the `ipfs` command prints when it asks the running daemon."""
        return self._run(f"--api-auth=bearer:{CANARY}", *arguments)

    def ask_for_bytes(self, *arguments: str) -> bytes:
        """The same, for what is no text."""
        return self._run_for_bytes(f"--api-auth=bearer:{CANARY}", *arguments)

    def join(self, other: KuboNode) -> None:
        """Connect with another node. Both have the settings `SWARM`."""
        addresses = json.loads(other.ask("id"))["Addresses"]
        self.ask("swarm", "connect", next(one for one in addresses if "/http/" not in one))

    def put_blocks(self, blocks: Sequence[bytes], directory: Path) -> None:
        """Store raw blocks."""
        paths = []
        for number, block in enumerate(blocks):
            paths.append(directory / f"block{number}")
            paths[-1].write_bytes(block)
        self.ask("block", "put", "--cid-codec=raw", "--allow-big-block", *map(str, paths))

    def holds(self, data: bytes) -> bool:
        """Whether some bytes are in a file of its repository, in which blocks lie as they are."""
        files = (path for path in self._repository.rglob("*") if path.is_file() and path.name != "config")
        return any(data in path.read_bytes() for path in files)

    def lose(self, root: str, data: bytes) -> None:
        """Unpin a root, and remove the raw block with these bytes."""
        self.ask("pin", "rm", root)
        self.ask("block", "rm", cid.to_text(cid.raw_cid(hashlib.sha256(data).digest())))

    def _find_addresses(self) -> None:
        address = (self._repository / "api").read_text().split("/")
        self.api = f"http://{address[2]}:{address[4]}"
        self.gateway = (self._repository / "gateway").read_text().strip()

    def _configure(self, settings: dict[str, object]) -> None:
        path = self._repository / "config"
        config = json.loads(path.read_text())
        for key, value in settings.items():
            *outer, last = key.split(".")
            place = config
            for name in outer:
                place[name] = place.get(name) or {}
                place = place[name]
            place[last] = value
        path.write_text(json.dumps(config))

    def _run(self, *arguments: str) -> str:
        return self._run_for_bytes(*arguments).decode()

    def _run_for_bytes(self, *arguments: str) -> bytes:
        done = subprocess.run([self._binary, *arguments], env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout


def _multiaddr(url: str) -> str:
    host, port = url.removeprefix("http://").split(":")
    return f"/ip4/{host}/tcp/{port}"
