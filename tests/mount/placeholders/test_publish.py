"""`publish`: what is sent to a node, and what is not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from ipfsfs.caches.registry import root_place
from ipfsfs.cli.sealed_leaves import SealedFirst
from ipfsfs.daemon import mounts
from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.publish import Publish, TreeBlocks
from ipfsfs.exchange.trees import HashedLeaves, Trees
from ipfsfs.origins.registry import open_publisher
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs import cid
from tests.support.elsewhere import Elsewhere
from tests.support.hub import LocalHub
from tests.support.kubo_node import CANARY, KuboNode
from tests.support.mounted import Mounted, environment, ipfsfs

pytestmark = pytest.mark.kubo

COMMIT = "a" * 40
SECRET = "hf_" + "Canary" * 6


def _cached(home: Path, name: str, commit: str) -> Path:
    """A repository as the client leaves it in the cache."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "blobs" / ("d" * 40)).write_bytes(os.urandom(1000))
    (repository / "snapshots" / commit / "file").symlink_to("../../blobs/" + "d" * 40)
    return repository


def test_only_what_the_hub_calls_public_is_published_without_being_told(elsewhere: Elsewhere, tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        commit = hub.add("o/public", {"file": b"public"})
        env = environment(HF_ENDPOINT=hub.url)
        public, unknown = _cached(tmp_path, "o/public", commit), _cached(tmp_path, "o/unknown", COMMIT)
        published = ipfsfs("publish", public, *elsewhere.options, env=env)
        assert published.stdout.strip() == ipfsfs("cid", public).stdout.strip()
        (public / ".no_exist" / commit).mkdir(parents=True)
        (public / ".no_exist" / commit / "other.json").touch()
        assert ipfsfs("publish", public, *elsewhere.options, env=env, check=False).returncode == 0
        (public / "refs").mkdir()
        (public / "refs" / "main").write_text(commit)
        (public / "trees").mkdir()
        (public / "trees" / f"{commit}.json").write_text("[]")
        assert ipfsfs("publish", public, *elsewhere.options, env=env, check=False).returncode == 0
        for name in (f"blobs/{'e' * 40}", f"trees/{COMMIT}.json", "refs/private"):
            (public / name).write_text(COMMIT[:39] + "b")
            older = ipfsfs("publish", public, *elsewhere.options, env=env, check=False)
            assert older.returncode == 2, name
            assert f"{name} belongs to no revision" in older.stderr
            (public / name).unlink()
        names_only = ipfsfs("publish", unknown / "snapshots", *elsewhere.options, env=env, check=False)
        assert names_only.returncode == 2, "names of files are private too"
        refused = ipfsfs("publish", unknown, *elsewhere.options, env=env, check=False)
        assert refused.returncode == 2
        assert "o/unknown" in refused.stderr
        assert "--private-too" in refused.stderr
        assert refused.stdout == ""
        exported = ipfsfs("export", unknown, tmp_path / "unknown.car", env=env, check=False)
        assert exported.returncode == 2
        assert "ipfsfs export --private-too" in exported.stderr
        assert not (tmp_path / "unknown.car").exists()
        ipfsfs("export", public, tmp_path / "public.car", env=env)
    ipfsfs("export", unknown, tmp_path / "unknown.car", "--private-too", env=env)
    offline = ipfsfs("publish", public, *elsewhere.options, env=env, check=False)
    assert offline.returncode == 2, "not known is not public"
    (tmp_path / "notes").write_bytes(b"in no repository")
    assert ipfsfs("publish", tmp_path / "notes", *elsewhere.options, env=env, check=False).returncode == 2
    ipfsfs("export", tmp_path / "notes", tmp_path / "notes.car", env=env)
    kept = ipfsfs("publish", tmp_path / "notes", "--private-too", *elsewhere.options).stdout.strip()
    assert elsewhere.node.ask("cat", kept) == "in no repository"


def test_h36_secrets_stay_here_whatever_their_names(elsewhere: Elsewhere, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "token").write_text(SECRET)
    (tree / "notes.txt").write_text(SECRET)
    (tree / "config.json").write_text("{}")
    published = ipfsfs("publish", tree, "--private-too", *elsewhere.options)
    assert "Left out" in published.stderr
    root = published.stdout.strip()
    assert elsewhere.node.ask("ls", root).split()[-1] == "config.json"
    held = elsewhere.node.ask("refs", "local").split()
    assert cid.to_text(cid.raw_cid(hashlib.sha256(b"{}").digest())) in held
    assert cid.to_text(cid.raw_cid(hashlib.sha256(SECRET.encode()).digest())) not in held
    refused = ipfsfs("publish", tree / "token", "--private-too", *elsewhere.options, check=False)
    assert refused.returncode == 2
    assert CANARY not in published.stderr + refused.stderr


def test_publishing_again_sends_nothing_and_a_name_leads_to_it(elsewhere: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    first = ipfsfs("publish", tmp_path / "file", "--private-too", "--name", "mine", *elsewhere.options)
    again = ipfsfs("publish", tmp_path / "file", "--private-too", "--name", "mine", *elsewhere.options)
    assert again.stdout == first.stdout
    assert "Sent 0 B of 3.0 MB" in again.stderr
    (name,) = [word.rstrip(".") for word in first.stderr.split() if word.startswith("/ipns/")]
    assert elsewhere.node.ask("name", "resolve", name).strip() == f"/ipfs/{first.stdout.strip()}"


def test_a_node_that_does_not_answer_is_named_with_exit_code_1(elsewhere: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    elsewhere.node.stop()
    try:
        failed = ipfsfs("publish", tmp_path / "file", "--private-too", *elsewhere.options, check=False)
    finally:
        elsewhere.node.start()
    assert failed.returncode == 1
    assert elsewhere.node.api.removeprefix("http://") in failed.stderr
    assert failed.stdout == ""


def test_a_file_that_changes_meanwhile_is_not_sent_under_its_old_name(kubo: KuboNode, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    path = tmp_path / "tree" / "file"
    path.write_bytes(os.urandom(2_000_000))

    async def publish() -> None:
        plain = PlainDirectory.open(tmp_path)
        blocks = TreeBlocks()
        trees = Trees(plain, root_place(b"/"), HashedLeaves(plain, "auto", lambda *_: None), rest_s=0, blocks=blocks)
        found = await trees.cid(b"tree")
        path.write_bytes(os.urandom(2_000_000))
        to = open_publisher(OriginSettings("kubo", kubo.api, f"Bearer {CANARY}"))
        try:
            await Publish(plain, blocks, to, lambda _: None).run(found.root)
        finally:
            await to.aclose()
            plain.close()

    with pytest.raises(IpfsfsError, match="changed while it was read"):
        trio.run(publish)


def test_what_is_sealed_is_not_hashed_again_while_it_is_the_same(
    mounted: Callable[..., Mounted],
) -> None:
    view = mounted(None)
    path = view.path / "model.bin"
    path.write_bytes(os.urandom(6_000_000))
    view.seal()
    seen = mounts.view_at(view.path)
    assert seen is not None

    def leaves(before: os.stat_result) -> tuple[list[tuple[int, bytes]], int]:
        """The leaves of the file, and how many bytes were read for that."""
        read = [0]
        plain = PlainDirectory.open(view.path)
        hashed = HashedLeaves(plain, "auto", lambda _, done: read.append(done))
        try:
            found = trio.run(SealedFirst(seen, view.path, "auto", hashed).of, b"model.bin", before)
            assert found is not None
            return list(found), read[-1]
        finally:
            plain.close()

    def digests() -> list[tuple[int, bytes]]:
        data = path.read_bytes()
        parts = [data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)]
        return [(len(part), hashlib.sha256(part).digest()) for part in parts]

    assert leaves(path.stat()) == (digests(), 0)
    before = path.stat()
    os.utime(path)
    view.seal()
    assert leaves(before) == (digests(), 6_000_000), "it was changed since it was looked at"
    with path.open("r+b") as file:
        file.write(b"other")
        file.flush()
        assert leaves(path.stat()) == (digests(), 6_000_000)
    view.seal()
    assert leaves(path.stat()) == (digests(), 0)
    otherwise = SealedFirst(seen, view.path, "fixed", _Nothing())
    assert trio.run(otherwise.of, b"model.bin", path.stat()) is None, "the seal is of leaves that were cut otherwise"


def test_of_what_a_node_has_nothing_is_sent_again(elsewhere: Elsewhere, tmp_path: Path) -> None:
    data = os.urandom(20 << 20)
    half, whole = tmp_path / "half.bin", tmp_path / "whole.bin"
    half.write_bytes(data[: 10 << 20])
    whole.write_bytes(data)
    ipfsfs("publish", half, "--private-too", *elsewhere.options)
    said = json.loads(ipfsfs("publish", whole, "--private-too", "--json", *elsewhere.options).stdout)
    assert 10 << 20 <= said["sent_bytes"] < (10 << 20) + 10_000
    assert hashlib.sha256(elsewhere.node.ask_for_bytes("cat", said["cid"])).digest() == hashlib.sha256(data).digest()


class _Nothing:
    """Leaves of no file."""

    def is_secret(self, path: bytes, st: os.stat_result) -> bool:
        return False

    async def of(self, path: bytes, st: os.stat_result) -> None:
        return None
