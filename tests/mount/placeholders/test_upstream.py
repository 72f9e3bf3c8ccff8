"""`mount --upstream`: what a published tree has, and the view has not, is filled in, and nothing else."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from tests.support.block_server import block_server
from tests.support.elsewhere import Content, Elsewhere, eventually_resident, plain_link, write
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import beside, eventually, parent

pytestmark = pytest.mark.kubo

REPOSITORY = "models--o--name"
ONE, OTHER = "1" * 40, "2" * 40
NOWHERE = cid.to_text(cid.raw_cid(hashlib.sha256(b"nobody has this").digest()))


def _blob(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _repository(weights: bytes, config: bytes, commit: str) -> Content:
    return {
        f"{REPOSITORY}/blobs/{_blob(weights)}": weights,
        f"{REPOSITORY}/blobs/{_git(config)}": config,
        f"{REPOSITORY}/snapshots/{commit}/model.safetensors": f"../../blobs/{_blob(weights)}",
        f"{REPOSITORY}/snapshots/{commit}/sub/config.json": f"../../../blobs/{_git(config)}",
    }


FIRST = _repository(b"first" * 300_000, b'{"first": 1}', ONE)
SECOND = {**FIRST, **_repository(b"second" * 300_000, b'{"second": 2}', OTHER)}


@pytest.fixture
def added(elsewhere: Elsewhere, tmp_path: Path) -> Callable[[Content], str]:
    """The CID of a tree that a stock node was given, whatever is in it."""
    number = 0

    def add(content: Content) -> str:
        nonlocal number
        number += 1
        tree = tmp_path / f"added{number}"
        write(tree, content)
        printed = elsewhere.node.ask("add", "-r", "-Q", "--hidden", "--pin=false", str(tree))
        return cid.to_text(cid.from_text(printed.strip()))

    return add


def _says(view: Mounted) -> str:
    return str(view.status()["upstream_says"])


def _filled_in(view: Mounted, root: str) -> None:
    eventually(lambda: f"{root} was filled in" in _says(view), "the upstream is filled in")


def _again(view: Mounted) -> None:
    """Have the follower look at once: it is started again when it ends."""
    view.expect_logged.append("the follower of the upstream")
    (follower,) = (pid for pid in beside("daemon.upstream.follower") if parent(pid) == view.pid)
    os.kill(follower, signal.SIGKILL)


def test_a_published_tree_is_there_and_its_next_version_too(elsewhere: Elsewhere) -> None:
    first, second = elsewhere.publish(FIRST), elsewhere.publish(SECOND)
    key = elsewhere.node.ask("key", "gen", "models").strip()
    publish = ("name", "publish", "--key=models", "--allow-offline", "-Q")
    elsewhere.node.ask(*publish, f"/ipfs/{first}")
    view = elsewhere.view("--upstream", f"/ipns/{key}")
    _filled_in(view, first)
    snapshots = view.path / REPOSITORY / "snapshots"
    weights = snapshots / ONE / "model.safetensors"
    assert weights.read_bytes() == FIRST[f"{REPOSITORY}/blobs/{_blob(b'first' * 300_000)}"]
    assert (snapshots / ONE / "sub" / "config.json").read_bytes() == b'{"first": 1}'
    eventually_resident(view, weights.resolve())
    assert f"/ipns/{key}" in ipfsfs("status", view.path).stdout
    # What was removed here stays removed, and what is here stays as it is.
    (snapshots / ONE / "sub" / "config.json").unlink()
    weights.unlink()
    weights.write_bytes(b"mine")
    elsewhere.node.ask(*publish, f"/ipfs/{second}")
    _again(view)
    _filled_in(view, second)
    assert (snapshots / OTHER / "model.safetensors").read_bytes() == b"second" * 300_000
    assert weights.read_bytes() == b"mine"
    assert not (snapshots / ONE / "sub" / "config.json").exists()
    assert "1 stays removed" in _says(view)


def test_what_was_removed_stays_removed_in_a_new_mount_and_a_new_tree(elsewhere: Elsewhere) -> None:
    first, second = elsewhere.publish(FIRST), elsewhere.publish(SECOND)
    view = elsewhere.view("--upstream", first)
    _filled_in(view, first)
    shutil.rmtree(view.path / REPOSITORY)
    view.remount()
    eventually(lambda: f"all of {first} is filled in" in _says(view), "the tree is known")
    assert not any(view.path.iterdir())
    view.umount()
    view.arguments = tuple(second if argument == first else argument for argument in view.arguments)
    view.mount()
    _filled_in(view, second)
    assert not any(view.path.iterdir())
    ipfsfs("attach", f"{second}/{REPOSITORY}", view.path / REPOSITORY)
    assert (view.path / REPOSITORY / "snapshots" / OTHER / "model.safetensors").stat().st_size == 1_800_000


def test_h37_only_what_stays_the_same_comes_from_an_upstream(
    elsewhere: Elsewhere, added: Callable[[Content], str]
) -> None:
    allowed: Content = {
        **FIRST,
        "plain/notes.txt": b"plain content",
        f"{REPOSITORY}/blobs/{_git(b'')}": b"",
    }
    hostile: Content = {
        "token": b"hf_planted",
        "stored_tokens": b"planted",
        "modules/transformers_modules/o/name/code.py": b"planted",
        "plain/code.py": b"planted",
        "plain/deep/.hidden/file": b"planted",
        "accelerate/default_config.yaml": b"planted",
        "accelerate/other": b"planted",
        ".bashrc": b"planted",
        ".locks/file": b"planted",
        f"{REPOSITORY}/refs/main": ONE.encode(),
        f"{REPOSITORY}/trees/{ONE}.json": b"[]",
        f"{REPOSITORY}/other": b"planted",
        f"{REPOSITORY}/blobs/{'a' * 40}": b"not what its name says",
        f"{REPOSITORY}/blobs/name": b"planted",
        f"{REPOSITORY}/blobs/{'b' * 64}": "../../../outside",
        f"{REPOSITORY}/snapshots/{ONE}/token": f"../../blobs/{_git(b'')}",
        f"{REPOSITORY}/snapshots/{ONE}/leaves": "../../../../outside",
        f"{REPOSITORY}/snapshots/{ONE}/absolute": "/etc/passwd",
        f"{REPOSITORY}/snapshots/{ONE}/secret": "../../../token",
        f"{REPOSITORY}/snapshots/{ONE}/file": b"no link",
        f"{REPOSITORY}/snapshots/main/file": f"../../blobs/{_git(b'')}",
        "models--o--other/snapshots/" + ONE + "/file": f"../../../{REPOSITORY}/blobs/{_git(b'')}",
        "blobs/aa/" + "a" * 64: b"planted",
        "link": "plain/notes.txt",
    }
    root = added({**allowed, **hostile})
    view = elsewhere.view("--upstream", root)
    _filled_in(view, root)
    there = {str(path.relative_to(view.path)) for path in view.path.rglob("*") if not path.is_dir()}
    assert there == set(allowed)
    assert "were passed over, such as" in _says(view)


def test_a_promise_is_checked_before_a_file_is_made(elsewhere: Elsewhere, added: Callable[[Content], str]) -> None:
    name = f"{REPOSITORY}/blobs/{'c' * 64}"
    root = added({name: b"not this" * 200_000, f"{REPOSITORY}/snapshots/{ONE}/file": f"../../blobs/{'c' * 64}"})
    view = elsewhere.view("--upstream", root)
    _filled_in(view, root)
    view.expect_logged.append("its name promises another")
    (view.path / name).read_bytes()
    eventually(lambda: "its name promises another" in view.log(), "the promise is found to be broken")
    assert plain_link(view, view.path / name) is not None, "what broke its promise became no file"


def test_a_view_is_mounted_whatever_becomes_of_its_upstream(elsewhere: Elsewhere) -> None:
    view = elsewhere.view("--upstream", NOWHERE)
    (view.path / "file").write_bytes(b"the view goes on")
    eventually(lambda: "looked at again after" in _says(view), "the failure is told")
    assert NOWHERE in _says(view)
    view.umount()
    assert (view.path / "file").read_bytes() == b"the view goes on"


def test_an_upstream_that_stalls_holds_up_nothing(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    (tmp_path / "view").mkdir()
    with block_server() as origin:
        origin.answers.clear()
        began = time.monotonic()
        view = mounted(tmp_path / "view", "--gateway", origin.url, "--hub", "none", "--upstream", NOWHERE)
        eventually(lambda: origin.asked, "the upstream is asked for")
        (view.path / "file").write_bytes(b"the view goes on")
        assert (view.path / "file").read_bytes() == b"the view goes on"
        assert _says(view)
        view.umount()
        assert time.monotonic() - began < 10
