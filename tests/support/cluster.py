"""An IPFS Cluster of one peer over a Kubo, on loopback; it serves its REST API and the Pinning Service API."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.kubo_node import KuboNode

USER: Final = "tests"
CANARY: Final = "canary-of-the-cluster"
"""The password of both APIs."""
_VERSION: Final = "1.1.6"


def binary() -> Path:
    """The ipfs-cluster-service binary. Without one the test fails where it could be built and in CI, else it skips."""
    if named := os.environ.get("IPFSFS_TEST_CLUSTER"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "ipfsfs-tests" / f"cluster-{_VERSION}" / "ipfs-cluster-service"
    if built.exists():
        return built
    if os.environ.get("CI") or shutil.which("go") or Path("/usr/local/go/bin/go").exists():
        pytest.fail(
            f"IPFS Cluster is not built: run ./mount_scripts/build-cluster (it would be at {built})", pytrace=False
        )
    pytest.skip("no IPFS Cluster and no Go toolchain to build it with, and IPFSFS_TEST_CLUSTER is not set")


class ClusterPeer:
    """`start` it. `rest` and `service` are the URLs of its two APIs."""

    def __init__(self, node: KuboNode) -> None:
        self._binary = binary()
        self._directory = Path(tempfile.mkdtemp(prefix="ipfsfs-cluster-"))
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "IPFS_CLUSTER_PATH": str(self._directory / "peer"),
        }
        self._peer: subprocess.Popen[bytes] | None = None
        self._node = node.api.removeprefix("http://").split(":")
        rest, service, swarm = _free_ports(3)
        self.rest, self.service = f"http://127.0.0.1:{rest}", f"http://127.0.0.1:{service}"
        self._run("init", "--consensus", "crdt", "--datastore", "leveldb")
        self._configure(rest, service, swarm)

    def start(self) -> None:
        """Start the peer, and return when both APIs answer."""
        log = (self._directory / "log").open("wb")
        self._peer = subprocess.Popen(
            [self._binary, "daemon"], env=self._environment, stdout=log, stderr=subprocess.STDOUT
        )
        log.close()
        deadline = time.monotonic() + 60
        while not (self._answers(self.rest + "/id") and self._answers(self.service + "/pins")):
            if time.monotonic() > deadline or self._peer.poll() is not None:
                raise AssertionError((self._directory / "log").read_text(errors="replace")[-4000:])
            time.sleep(0.1)

    def close(self) -> None:
        """End the peer for good."""
        if self._peer is not None:
            self._peer.terminate()
            self._peer.wait(30)
        shutil.rmtree(self._directory)

    @property
    def basic(self) -> str:
        """The value of the header that the REST API is asked with."""
        return "Basic " + base64.b64encode(f"{USER}:{CANARY}".encode()).decode()

    def token(self) -> str:
        """A bearer token of the Pinning Service API."""
        request = urllib.request.Request(self.service + "/token", method="POST", headers={"Authorization": self.basic})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["token"])

    def _answers(self, url: str) -> bool:
        try:
            request = urllib.request.Request(url, headers={"Authorization": self.basic})
            with urllib.request.urlopen(request, timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def _configure(self, rest: int, service: int, swarm: int) -> None:
        path = self._directory / "peer" / "service.json"
        config: dict[str, Any] = json.loads(path.read_text())
        host, port = self._node
        config["cluster"] |= {
            "listen_multiaddress": [f"/ip4/127.0.0.1/tcp/{swarm}"], "mdns_interval": "0s",
            "monitor_ping_interval": "1s", "pin_recover_interval": "1h",
        }  # fmt: skip
        for name, at in (("restapi", rest), ("pinsvcapi", service)):
            config["api"][name]["http_listen_multiaddress"] = f"/ip4/127.0.0.1/tcp/{at}"
            config["api"][name]["basic_auth_credentials"] = {USER: CANARY}
        del config["api"]["ipfsproxy"]
        config["ipfs_connector"]["ipfshttp"] |= {
            "node_multiaddress": f"/ip4/{host}/tcp/{port}", "pin_timeout": "1s", "connect_swarms_delay": "1h",
        }  # fmt: skip
        path.write_text(json.dumps(config))

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([self._binary, *arguments], env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
