"""Published from one view to a real IPFS node, attached by CID in another, and used there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.mounted import ipfsfs

pytestmark = pytest.mark.kubo

BLOB = os.urandom(5_500_000)
SHA256 = hashlib.sha256(BLOB).hexdigest()
COMMIT = "c" * 40
REPOSITORY: dict[str, bytes | str] = {
    f"blobs/{SHA256}": BLOB,
    f"blobs/{'d' * 40}": b'{"a": 1}',
    "refs/main": COMMIT.encode(),
    f"snapshots/{COMMIT}/model.bin": f"../../blobs/{SHA256}",
    f"snapshots/{COMMIT}/config.json": f"../../blobs/{'d' * 40}",
}


def test_a_repository_is_published_attached_read_and_left_on_plain_disk(elsewhere: Elsewhere, tmp_path: Path) -> None:
    first, second = elsewhere.view(), elsewhere.view()
    for name, what in REPOSITORY.items():
        path = first.path / "hub" / "models--o--n" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(what) if isinstance(what, str) else path.write_bytes(what)
    at = first.path / "hub" / "models--o--n"
    root = ipfsfs("publish", at, "--private-too").stdout.strip()
    assert root == ipfsfs("cid", at).stdout.strip()
    assert root in elsewhere.node.ask("pin", "ls", "--type=recursive")

    there = second.path / "hub" / "models--o--n"
    ipfsfs("attach", root, there)
    assert ipfsfs("cid", there).stdout.strip() == root, "known without fetching anything"
    blob = there / "blobs" / SHA256
    assert (plain_link(second, blob) or "").startswith("ipfs://"), "nothing but names was fetched"
    assert (there / "refs" / "main").read_text() == COMMIT
    assert (there / "snapshots" / COMMIT / "config.json").read_bytes() == b'{"a": 1}'
    assert (there / "snapshots" / COMMIT / "model.bin").read_bytes() == BLOB
    eventually_resident(second, blob)
    eventually_resident(second, there / "blobs" / ("d" * 40))
    second.seal()
    assert ipfsfs("verify", there).returncode == 0

    ipfsfs("attach", root, there)
    second.umount()
    assert blob.read_bytes() == BLOB, "the plain directory holds what came"


def test_attaching_again_completes_what_is_missing(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"one": b"1" * 1000, "below/two": b"2" * 1000})
    (at / "below" / "two").unlink()
    root = elsewhere.publish({"one": b"1" * 1000, "below/two": b"2" * 1000})
    assert (at / "one").read_bytes() == b"1" * 1000
    eventually_resident(view, at / "one")
    ipfsfs("attach", root, at)
    assert (at / "below" / "two").read_bytes() == b"2" * 1000


def test_attaching_again_is_done_though_the_view_cuts_files_into_other_leaves(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    content = os.urandom(500_000)
    (tmp_path / "weights").write_bytes(content)
    root = elsewhere.node.ask("add", "-Q", "--chunker=size-100000", str(tmp_path / "weights")).strip()
    view = elsewhere.view()
    file = view.path / "weights"
    ipfsfs("attach", root, file)
    assert file.read_bytes() == content
    eventually_resident(view, file)
    view.seal()
    assert ipfsfs("cid", file).stdout.strip() != root
    ipfsfs("attach", root, file)
    file.write_bytes(content[::-1])
    view.seal()
    done = ipfsfs("attach", root, file, check=False)
    assert done.returncode == 2
    assert str(file) in done.stderr


def test_a_file_that_is_being_written_is_no_file_of_the_tree(elsewhere: Elsewhere) -> None:
    root, view = elsewhere.publish({"file": b"content", "other": b"other"}), elsewhere.view()
    (view.path / "tree").mkdir()
    with (view.path / "tree" / "file").open("wb", buffering=0) as file:  # until it is closed it has no CID
        file.write(b"CONTENT")
        done = ipfsfs("attach", root, view.path / "tree", check=False)
    assert done.returncode == 2
    assert not (view.path / "tree" / "other").exists()
    (view.path / "tree" / "file").unlink()
    (view.path / "tree").rmdir()


def test_a_single_file_is_attached(elsewhere: Elsewhere) -> None:
    content = os.urandom(3_000_000)
    root = elsewhere.publish({"file": content})
    cids = elsewhere.node.ask("ls", root).split()
    view = elsewhere.view()
    ipfsfs("attach", f"ipfs://{cids[0]}", view.path / "below" / "copy")
    assert (view.path / "below" / "copy").stat().st_size == len(content)
    assert (view.path / "below" / "copy").read_bytes() == content


def test_what_is_in_the_way_is_named_and_nothing_is_made(elsewhere: Elsewhere) -> None:
    root, view = elsewhere.publish({"a/one": b"theirs", "a/two": b"theirs too"}), elsewhere.view()
    (view.path / "tree" / "a").mkdir(parents=True)
    (view.path / "tree" / "a" / "two").write_bytes(b"mine")
    refused = ipfsfs("attach", root, view.path / "tree", check=False)
    assert refused.returncode == 2
    assert f"{view.path}/tree/a/two" in refused.stderr
    assert os.listdir(view.path / "tree" / "a") == ["two"]
    assert (view.path / "tree" / "a" / "two").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "content",
    [
        {"ok": b"1", "link": "../../outside"},
        {"ok": b"1", "link": "/etc/passwd"},
        {"ok": b"1", "below/link": "../../token"},
    ],
)
def test_h37_a_tree_with_a_link_that_leaves_it_is_refused(
    elsewhere: Elsewhere, content: dict[str, bytes | str]
) -> None:
    root, view = elsewhere.publish(content), elsewhere.view()
    refused = ipfsfs("attach", root, view.path / "tree", check=False)
    assert refused.returncode == 1
    assert "a link that leaves the tree" in refused.stderr
    assert not (view.path / "tree").exists()


def test_h37_a_tree_that_plants_a_secret_is_refused(elsewhere: Elsewhere, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "token").write_text("planted")
    (planted / "config.json").write_text("{}")
    root = elsewhere.node.ask("add", "--recursive", "--quieter", str(planted)).strip()
    view = elsewhere.view()
    refused = ipfsfs("attach", root, view.path / "hub", check=False)
    assert refused.returncode == 1
    assert "token" in refused.stderr
    assert not (view.path / "hub").exists()


def test_why_and_status_say_what_it_is_and_where_it_comes_from(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": b"1" * 1000})
    assert ipfsfs("attach", "nonsense", at / "x", check=False).returncode == 2
    told = ipfsfs("why", at / "file").stdout
    assert "not wholly here" in told
    assert "bafkrei" in told
    status = ipfsfs("status", view.path).stdout
    assert f"kubo {elsewhere.node.api}" in status
    again = ipfsfs("mount", view.path, "--gateway", "http://127.0.0.1:1", "--patience", "5").stdout
    assert "--gateway http://127.0.0.1:1 is not in force (in force: none)." in again
    assert "--patience 5 seconds is not in force (in force: 60 seconds)." in again
