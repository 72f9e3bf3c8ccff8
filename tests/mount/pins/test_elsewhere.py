"""Pins that others hold: a real IPFS Cluster, by its own API and as a pinning service."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster import CANARY, ClusterPeer
from tests.support.kubo_node import KuboNode
from tests.support.mounted import Mounted, environment, ipfsfs

pytestmark = [pytest.mark.kubo, pytest.mark.cluster]
WAYS = {"cluster": ("--cluster",), "service": ("--service", "ours")}


@dataclass(slots=True)
class Keepers:
    """The file in which a user names who pins, and the secrets in it."""

    directory: Path
    token: str

    def __call__(self, *arguments: str | Path, check: bool = True) -> tuple[str, str, int]:
        """Run a command that knows them; nothing that it says holds a secret."""
        done = ipfsfs(*arguments, check=check, env=environment(IPFSFS_CONFIG=str(self.directory / "config.toml")))
        for said in (done.stdout, done.stderr):
            assert CANARY not in said
            assert self.token not in said
        return done.stdout, done.stderr, done.returncode


@pytest.fixture
def keepers(cluster: ClusterPeer, tmp_path: Path) -> Keepers:
    return _keepers(tmp_path, cluster.rest, cluster.service, cluster.basic, cluster.token())


def _keepers(directory: Path, rest: str, service: str, basic: str, token: str) -> Keepers:
    for name, secret in (("basic", basic), ("token", token)):
        (directory / name).write_text(secret + "\n")
        (directory / name).chmod(0o600)
    (directory / "config.toml").write_text(
        f'[cluster]\nurl = "{rest}"\nauthorization_file = "basic"\n'
        f'[service.ours]\nurl = "{service}"\ntoken_file = "token"\n'
    )
    return Keepers(directory, token)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_published_is_pinned_elsewhere_listed_and_unpinned(
    way: str, keepers: Keepers, open_node: KuboNode, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    view = mounted()
    (view.path / "model.bin").write_bytes(random.Random(way).randbytes(2_500_000))
    root = ipfsfs("publish", view.path / "model.bin", "--private-too", "--kubo", open_node.api).stdout.strip()
    open_node.ask("pin", "rm", root)
    assert keepers("pin", "add", view.path / "model.bin", *WAYS[way])[0].strip() == root
    assert root in open_node.ask("pin", "ls", "--type=recursive")
    listed = json.loads(keepers("pin", "ls", "--json", *WAYS[way])[0])
    assert [(pin["cid"], pin["name"], pin["state"]) for pin in listed] == [(root, "model.bin", "pinned")]
    again = keepers("pin", "add", root, "--json", *WAYS[way])[0]
    assert json.loads(again)["state"] == "pinned", "a second time changes nothing"
    keepers("pin", "rm", root, *WAYS[way])
    assert json.loads(keepers("pin", "ls", "--json", *WAYS[way])[0]) == []
    assert keepers("pin", "rm", root, *WAYS[way], check=False)[2] == 2


@pytest.mark.parametrize("way", WAYS)
def test_what_they_cannot_have_fails_and_is_named(way: str, keepers: Keepers) -> None:
    absent = "bafkreiabaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibae"
    _, said, code = keepers("pin", "add", absent, *WAYS[way], check=False)
    assert code == 1
    assert absent in said
    assert "cannot pin" in said
    keepers("pin", "rm", absent, *WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_wrong_credentials_are_refused_in_words(way: str, cluster: ClusterPeer, tmp_path: Path) -> None:
    keepers = _keepers(tmp_path, cluster.rest, cluster.service, "Basic d3Jvbmc6d3Jvbmc=", "wrong-token")
    _, said, code = keepers("pin", "ls", *WAYS[way], check=False)
    assert code == 1
    assert "refuses access (401" in said
