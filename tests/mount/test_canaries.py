"""A canary in every secret and in private repositories: it reaches those that it is for, and nobody else."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support import cluster as clusters
from tests.support.cluster import ClusterPeer
from tests.support.hub import LocalHub
from tests.support.kubo_node import KuboNode
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.recorded import Recorded, recorded
from tests.support.repositories import downloaded
from tests.support.watched import Watched, watched

pytestmark = [pytest.mark.kubo, pytest.mark.cluster]

HUB_TOKEN: Final = "hf_" + "CanaryOfTheHub" * 3
STORED_TOKEN: Final = "hf_" + "CanaryThatIsStored" * 2
KUBO: Final = "canary-of-kubo-0123456789"
NOTE: Final = "canary-in-the-configuration"
PRIVATE: Final = b"canary-of-a-private-repository "
GATED: Final = b"canary-of-a-gated-repository "


def _content(seed: str, canary: bytes) -> bytes:
    """Bytes that are those of no other repository, with a canary in every leaf of them."""
    chance = random.Random(seed)
    return b"".join(canary + chance.randbytes(60_000) for _ in range(50))


PUBLIC: Final = _content("public", b"")
FILES: Final = {
    "org/public": {"model.bin": PUBLIC, "config.json": b'{"hidden_size": 3}'},
    "org/private": {"model.bin": _content("private", PRIVATE), "config.json": b'{"x": "%b"}' % PRIVATE},
    "org/gated": {"model.bin": _content("gated", GATED), "config.json": b'{"x": "%b"}' % GATED},
}


@dataclass(slots=True)
class Site:
    """All that a user can have: views, a Hub, a node, a gateway, a cluster and a service, each with a record of what
    was sent to it. `said`: what all commands printed, by their words."""

    directory: Path
    local_hub: LocalHub
    servers: dict[str, Recorded]
    processes: Watched
    token: str
    said: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """A user's, who has the token of the Hub in it as well."""
        config = str(self.directory / "config.toml")
        return environment(IPFSFS_CONFIG=config, HF_ENDPOINT=self.servers["hub"].url, HF_TOKEN=HUB_TOKEN)

    @property
    def options(self) -> tuple[str, ...]:
        """What views are mounted with."""
        return (
            "--kubo", self.servers["node"].url, "--kubo-authorization-file", str(self.directory / "kubo.authorization"),
            "--gateway", self.servers["gateway"].url, "--hub", self.servers["hub"].url,
            "--hub-token-file", str(self.directory / "first" / "token"), "--patience", "5",
        )  # fmt: skip

    def run(self, *words: str | Path, code: int | None = 0) -> str:
        """Run a command; returns what it printed to stdout."""
        done = ipfsfs(*words, check=False, env=self.environment)
        self.said[" ".join(map(str, words))] = done.stdout + done.stderr
        assert code in (None, done.returncode), (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def run_both(self, *words: str | Path, code: int | None = 0) -> None:
        """Run a command for people, and for scripts."""
        self.run(*words, code=code)
        self.run(*words, "--json", code=code)


@pytest.fixture
def site(cluster: ClusterPeer, open_node: KuboNode, tmp_path: Path) -> Iterator[Site]:
    secrets = {
        "kubo.authorization": f"Bearer {KUBO}", "basic": cluster.basic, "service.token": cluster.token(),
        "first/token": HUB_TOKEN, "first/stored_tokens": f"[me]\nhf_token = {STORED_TOKEN}\n",
    }  # fmt: skip
    for name, secret in secrets.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    (tmp_path / "second").mkdir()
    with ExitStack() as stack:
        hub = stack.enter_context(LocalHub(tmp_path / "hub"))
        urls = {
            "hub": hub.url, "node": open_node.api, "gateway": open_node.gateway,
            "cluster": cluster.rest, "service": cluster.service,
        }  # fmt: skip
        servers = {name: stack.enter_context(recorded(url)) for name, url in urls.items()}
        found = Site(tmp_path, hub, servers, stack.enter_context(watched()), secrets["service.token"])
        (tmp_path / "config.toml").write_text(
            f'# {NOTE}\n[cluster]\nurl = "{servers["cluster"].url}"\nauthorization_file = "basic"\n'
            f'[service.ours]\nurl = "{servers["service"].url}"\ntoken_file = "service.token"\n'
        )
        yield found


@pytest.mark.timeout(1_200)
def test_h38_h41_canaries_reach_only_whom_they_are_for(
    site: Site, open_node: KuboNode, mounted: Callable[..., Mounted]
) -> None:
    os.environ["HF_TOKEN"] = HUB_TOKEN
    try:
        first = mounted(site.directory / "first", *site.options, "--metrics", f"unix://{site.directory}/m.sock")
        second = mounted(site.directory / "second", *site.options)
    finally:
        del os.environ["HF_TOKEN"]
    repositories = {name: downloaded(first, site.local_hub, name, files) for name, files in FILES.items()}
    for name, access in (("org/private", "private"), ("org/gated", "gated")):
        site.local_hub.restrict(name, access, HUB_TOKEN)
    first.seal()
    public, private, gated = (repositories[f"org/{name}"] for name in ("public", "private", "gated"))

    root = site.run("publish", public.at).split()[-1]
    for at in (private.at, gated.at, first.path, private.file("config.json").resolve()):
        site.run("publish", at, code=2)
        site.run("export", at, site.directory / "private.car", code=2)
    site.run("publish", site.directory / "first" / "token", "--private-too", code=2)
    site.run_both("export", public.at, site.directory / "public.car")
    site.run("export", first.path / "token", site.directory / "token.car", code=2)

    site.run_both("attach", root, second.path / "tree")
    attached = second.path / "tree" / public.file("model.bin").relative_to(public.at)
    assert attached.read_bytes() == PUBLIC
    for words in (("ls", root), ("stat", root), ("exists", root)):
        site.run(*words, "--view", second.path, code=None)
    site.run("cat", f"/ipfs/{root}/refs", "--view", second.path, code=None)
    site.run_both("pin", "add", second.path / "tree")
    site.run("pin", "rm", root, "--view", second.path)
    site.run_both("evict", second.path / "tree", code=None)
    site.run_both("prefetch", second.path / "tree")
    site.run("import", site.directory / "public.car", "--to", second.path / "imported")
    for way in (("--cluster",), ("--service", "ours")):
        site.run_both("pin", "add", root, *way)
        site.run("pin", "ls", *way)
        site.run("pin", "rm", root, *way)

    private.blob("model.bin").unlink()
    with gated.blob("model.bin").open("r+b") as file:
        file.write(b"written over")
    site.run_both("restore", first.path, code=None)
    assert private.file("model.bin").read_bytes() == FILES["org/private"]["model.bin"]
    assert gated.file("model.bin").read_bytes() == FILES["org/gated"]["model.bin"]
    site.run("verify", first.path, "--heal", code=None)

    for view in (first, second):
        for command in ("status", "config", "top --once --interval 0.1"):
            site.run_both(*command.split(), view.path)
        for command in ("cid", "metrics", "ls --view", "pin ls --view", "collect --dry-run --view", "dedup --dry-run"):
            site.run(*command.split(), view.path, code=None)
    for path in (private.file("model.bin"), gated.blob("model.bin"), first.path / "token", attached):
        site.run_both("why", path)
    site.run_both("doctor", code=None)
    _troubles(site, open_node, root, second)
    for view in (first, second):
        view.expect_logged += [r"WARNING|ERROR"]  # of what was damaged, and of what did not answer
        site.run("umount", view.path)
    _is_nowhere_else(site, open_node, (first, second))


def _troubles(site: Site, node: KuboNode, root: str, view: Mounted) -> None:
    """Commands that fail, each in its way."""
    absent = "bafkreiabaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibaeaqcaibae"
    for way in (("--cluster",), ("--service", "ours")):
        site.run("pin", "add", absent, *way, code=1)
        site.run("pin", "rm", absent, *way)
    for wrong in (f"http://u:{KUBO}@h:1", f"http://h?token={KUBO}", f"http://h:1#{KUBO}", f"http://user:{KUBO}"):
        site.run("publish", view.path / "tree", "--kubo", wrong, code=2)
    site.run("mount", view.path, "--hub-token-file", HUB_TOKEN, code=2)
    site.run("mount", view.path, "--kubo-authorization-file", f"Bearer {KUBO}", code=2)
    other = site.directory / "kubo.authorization"
    other.write_text(f"Bearer {KUBO}\nBearer {KUBO}\n")
    site.run(
        "publish",
        view.path / "tree",
        "--private-too",
        "--kubo-authorization-file",
        other,
        "--kubo",
        site.servers["node"].url,
        code=2,
    )
    other.write_text(f"Bearer {KUBO}")
    node.stop()
    try:
        site.run("publish", view.path / "tree", "--private-too", code=1)
        site.run_both("stat", absent, "--view", view.path, code=1)
        site.run_both("status", view.path)
    finally:
        node.start()
    site.run("export", root, site.directory / "missing" / "x.car", "--view", view.path, code=None)


def _is_nowhere_else(site: Site, node: KuboNode, views: tuple[Mounted, ...]) -> None:
    basic = clusters.CANARY.encode()
    credentials: dict[bytes, set[str]] = {
        HUB_TOKEN.encode(): {"hub"}, STORED_TOKEN.encode(): set(), KUBO.encode(): {"node"}, NOTE.encode(): set(),
        site.token.encode(): {"service"}, basic: set(),
        (site.directory / "basic").read_bytes().removeprefix(b"Basic "): {"cluster"},
    }  # fmt: skip
    for canary, meant in {**credentials, PRIVATE: set(), GATED: set()}.items():
        assert {name for name, server in site.servers.items() if server.got(canary)} == meant, canary
        for words, said in site.said.items():
            assert canary.decode() not in said, (canary, words, said)
        for path in (site.directory / "public.car", *_records(views)):
            assert canary not in path.read_bytes(), (canary, path)
        assert not node.holds(canary), canary
    for canary in credentials:
        for view in views:
            for path in view.store.rglob("*"):
                assert not path.is_file() or canary not in path.read_bytes(), (canary, path)
        for arguments in site.processes.arguments.values():
            is_typed = b"\0-m\0ipfsfs\0" in arguments  # by the test itself
            assert is_typed or canary not in arguments, (canary, arguments)
    workers = {
        pid: held
        for pid, held in site.processes.environments.items()
        if b"ipfsfs.workers" in site.processes.arguments[pid] or b"exporter" in site.processes.arguments[pid]
    }
    assert len(workers) >= 4, "sealers, fetchers and the exporter were seen"
    assert not any(canary in held for canary in credentials for held in workers.values())
    asked = site.local_hub.requests()
    assert {one.authorization for one in asked if one.port == site.local_hub.content_port} == {None}
    assert {one.authorization for one in asked if one.path.startswith("/api/")} == {None}, "is it public, for anyone?"
    assert any(one.authorization == f"Bearer {HUB_TOKEN}" for one in asked)
    assert json.loads(site.said[f"status {views[0].path} --json"])[0]["mounted"]


def _records(views: tuple[Mounted, ...]) -> list[Path]:
    """What views note: not what they keep of content."""
    found = [path for view in views for path in view.store.rglob("*") if path.is_file()]
    return [path for path in found if not {"extents", "blocks", "quarantine"} & set(path.parts)]
