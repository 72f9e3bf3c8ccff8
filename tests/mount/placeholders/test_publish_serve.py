"""`publish --serve`: a node announces the root, and others have what is below it from the view, by HTTP."""

from __future__ import annotations

import json
import os
import shlex
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.elsewhere import Content, eventually_resident, write
from tests.support.kubo_node import CANARY, SWARM, KuboNode
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually

pytestmark = pytest.mark.kubo

LARGE: Final = os.urandom(5_000_000)
CONTENT: Final[Content] = {"model/weights": LARGE, "model/config.json": b"{}", "empty": b"", "link": "model/weights"}
_PUBLIC: Final[dict[str, object]] = {
    **SWARM,
    "Routing.Type": "dht",
    "Provide.Enabled": True,
    "Gateway.ExposeRoutingAPI": True,
}


class Serving:
    """A view that serves, a node that announces, and another that fetches."""

    def __init__(self, tmp_path: Path, mounted: Callable[..., Mounted], *, is_told: bool = True) -> None:
        # Held until the view is mounted: the nodes take ports, too.
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        self.port: int = held.getsockname()[1]
        for name in ("announcing", "fetching", "view"):
            (tmp_path / name).mkdir()
        own: dict[str, object] = {
            "Addresses.AppendAnnounce": [f"/ip4/127.0.0.1/tcp/{self.port}/http"], "Bitswap.Libp2pEnabled": False,
        }  # fmt: skip
        self.announcing = KuboNode(tmp_path / "announcing", {**_PUBLIC, **(own if is_told else {})})
        self.fetching = KuboNode(tmp_path / "fetching", {**_PUBLIC, "HTTPRetrieval.Enabled": True})
        self.secret = tmp_path / "authorization"
        self.secret.write_text(f"Bearer {CANARY}\n")
        try:
            self.announcing.start()
            self.fetching.start()
            self.fetching.join(self.announcing)
        except BaseException:
            self.close()
            raise
        finally:
            held.close()
        self.view = mounted(
            tmp_path / "view",
            "--serve",
            f"127.0.0.1:{self.port}",
            "--open",
            "--hub",
            "none",
            "--gateway",
            self.announcing.gateway,
        )
        write(self.view.path, CONTENT)

    def publish(self, *arguments: str, check: bool = True) -> Any:
        options = ("--kubo", self.announcing.api, "--kubo-authorization-file", str(self.secret))
        return ipfsfs("publish", self.view.path, "--serve", "--private-too", *options, *arguments, check=check)

    def gives(self, cid: str) -> bool:
        """Whether the view gives a block to anyone."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ipfs/{cid}?format=raw", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def close(self) -> None:
        for node in (self.announcing, self.fetching):
            node.close()


@pytest.fixture
def serving(tmp_path: Path, mounted: Callable[..., Mounted]) -> Iterator[Serving]:
    """A view, two nodes, and how they are settled."""
    found = Serving(tmp_path, mounted)
    try:
        yield found
    finally:
        found.close()


def _repository_bytes(node: KuboNode) -> int:
    return int(json.loads(node.ask("repo", "stat", "--size-only", "--enc=json"))["RepoSize"])


def test_other_nodes_fetch_from_the_view_and_the_announcing_one_holds_no_second_copy(serving: Serving) -> None:
    before = _repository_bytes(serving.announcing)
    done = serving.publish()
    root = done.stdout.split()[-1]
    assert root == ipfsfs("cid", serving.view.path).stdout.split()[-1]
    assert "lacks settings" not in done.stderr
    eventually(lambda: serving.gives(root), "the root is served")
    assert serving.fetching.ask_for_bytes("cat", f"/ipfs/{root}/model/weights") == LARGE
    assert serving.fetching.ask_for_bytes("cat", f"/ipfs/{root}/empty") == b""
    serving.fetching.ask("pin", "add", root)
    assert _repository_bytes(serving.announcing) - before < 200_000
    assert not serving.announcing.holds(LARGE[:100_000])


def test_what_is_published_is_served_until_it_is_published_no_more(serving: Serving) -> None:
    weights = ipfsfs("cid", serving.view.path / "model" / "weights").stdout.split()[-1]
    serving.view.seal()
    assert not serving.gives(weights), "nothing is served that nobody named"
    root = serving.publish().stdout.split()[-1]
    eventually(lambda: serving.gives(root) and serving.gives(weights), "it is served")
    assert "others have it from here" in ipfsfs("evict", serving.view.path, check=False).stderr
    ipfsfs("collect", "--view", serving.view.path)
    serving.view.remount()
    eventually(lambda: serving.gives(root) and serving.gives(weights), "it is served by the next mount, too")
    assert root in ipfsfs("unpublish", "--view", serving.view.path).stdout
    ipfsfs("unpublish", root, "--view", serving.view.path)
    eventually(lambda: not serving.gives(root) and not serving.gives(weights), "it is served no longer")
    assert not ipfsfs("unpublish", "--view", serving.view.path).stdout


def test_a_router_and_an_upstream_bring_it_to_another_view_with_no_node_of_its_own(
    serving: Serving, tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    root = serving.publish().stdout.split()[-1]
    eventually(lambda: serving.gives(root), "the root is served")
    (tmp_path / "other").mkdir()
    before = _repository_bytes(serving.fetching)
    router = ("--routing", serving.fetching.gateway, "--hub", "none")
    other = mounted(tmp_path / "other", *router, "--upstream", root)
    eventually(lambda: "was filled in" in str(other.status()["upstream_says"]), "the upstream is filled in")
    weights = other.path / "model" / "weights"
    assert weights.read_bytes() == LARGE
    eventually_resident(other, weights)
    assert "routing" in ipfsfs("why", weights).stdout
    assert (other.path / "model" / "config.json").read_bytes() == b"{}"
    assert _repository_bytes(serving.fetching) - before < 200_000, "no node's repository fills up on the way"
    other.umount()


def test_what_was_attached_is_found_by_its_root_in_the_next_mount(
    serving: Serving, tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    """Of the files below nobody says that they have them."""
    root = serving.publish().stdout.split()[-1]
    eventually(lambda: serving.gives(root), "the root is served")
    (tmp_path / "other").mkdir()
    other = mounted(tmp_path / "other", "--routing", serving.fetching.gateway, "--hub", "none", "--patience", "20")
    ipfsfs("attach", root, other.path / "tree")
    other.remount()
    assert (other.path / "tree" / "model" / "weights").read_bytes() == LARGE
    other.umount()


def test_a_node_that_lacks_settings_is_said_what_to_set(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    serving = Serving(tmp_path, mounted, is_told=False)
    try:
        said = serving.publish().stderr
        assert f"Addresses.AppendAnnounce '[\"/ip4/127.0.0.1/tcp/{serving.port}/http\"]'" in said
        assert "ipfs config --json Bitswap.Libp2pEnabled false" in said
        # As it says:
        for line in said.splitlines():
            if line.startswith("  ipfs config --json "):
                serving.announcing.ask(*shlex.split(line)[1:])
        serving.announcing.stop()
        serving.announcing.start()
        assert "lacks settings" not in serving.publish().stderr
    finally:
        serving.close()


def test_without_a_view_that_serves_to_anyone_nothing_is_sent(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    (tmp_path / "view").mkdir()
    view = mounted(tmp_path / "view")
    (view.path / "file").write_bytes(b"content")
    done = ipfsfs("publish", view.path, "--serve", "--private-too", "--kubo", "http://127.0.0.1:1", check=False)
    assert done.returncode != 0
    assert "serves nothing" in done.stderr
    assert "--serve ADDRESS:PORT --open" in done.stderr
