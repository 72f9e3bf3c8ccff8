"""Pinned content stays: without its names, without the daemon that pinned it, without an origin."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from ipfsfs.unixfs.dagpb import Link, Type, Unixfs
from tests.support.dags import node
from tests.support.elsewhere import Elsewhere, plain_link, write
from tests.support.gateways import gateway
from tests.support.mounted import Mounted, ipfsfs

LARGE = os.urandom(3_300_000)
SEEN = ("st_ino", "st_mtime_ns", "st_mode", "st_nlink", "st_size")
TREE: dict[str, bytes | str] = {
    "model.bin": LARGE,
    "below/config.json": b'{"a": 1}',
    "below/empty": b"",
    "below/link": "config.json",
}


def _is_tree(at: Path) -> None:
    assert (at / "model.bin").read_bytes() == LARGE
    assert (at / "below/config.json").read_bytes() == b'{"a": 1}'
    assert (at / "below/empty").read_bytes() == b""
    assert os.readlink(at / "below/link") == "config.json"


@pytest.mark.filesystem
def test_a_pinned_tree_outlives_its_names_and_the_daemon_and_needs_no_origin(
    mounted: Callable[..., Mounted],
) -> None:
    view = mounted()
    write(view.path / "tree", TREE)
    root = ipfsfs("pin", "add", view.path / "tree").stdout.strip()
    assert root == ipfsfs("cid", view.path / "tree").stdout.strip()
    shutil.rmtree(view.path / "tree")
    view.umount()
    view.mount()
    (pin,) = view.pins()
    assert (pin["cid"], pin["path"], pin["files"], pin["complete"]) == (root, "tree", 2, True)
    ipfsfs("attach", root, view.path / "again")
    assert plain_link(view, view.path / "again/model.bin") is not None
    assert re.search(r"^here +all of it$", ipfsfs("why", view.path / "again/model.bin").stdout, re.MULTILINE)
    assert f"{view.path}, mounted: 3.3 MB, all of it here" in ipfsfs("ls", "--view", view.path).stdout
    _is_tree(view.path / "again")
    assert ipfsfs("cid", view.path / "again").stdout.strip() == root
    ipfsfs("pin", "rm", root, "--view", view.path)
    assert view.pins() == []
    _is_tree(view.path / "again")
    view.umount()


def test_h32_pinning_changes_nothing_that_a_program_sees_and_no_seal(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    at = view.path / "model.bin"
    at.write_bytes(LARGE)
    root = ipfsfs("cid", at).stdout.strip()
    before, sealed = at.stat(), view.status()["sealed"]
    with at.open("rb") as file:
        ipfsfs("pin", "add", at)
        assert file.read() == LARGE
    after = at.stat()
    assert [getattr(before, name) for name in SEEN] == [getattr(after, name) for name in SEEN]
    assert os.getxattr(at, "ipfs.cid").decode() == root, "its seal holds"
    assert view.status()["sealed"] == sealed
    ipfsfs("pin", "rm", at)
    assert os.getxattr(at, "ipfs.cid").decode() == root, "its seal still holds"
    view.umount()
    assert at.stat().st_nlink == 1, "the store has let go of it"


@pytest.mark.filesystem
def test_h32_a_pinned_file_that_is_overwritten_in_place_can_be_had_again(mounted: Callable[..., Mounted]) -> None:
    view = mounted()
    at = view.path / "model.bin"
    at.write_bytes(LARGE)
    root = ipfsfs("pin", "add", at).stdout.strip()
    with at.open("r+b") as file:
        file.seek(1_500_000)
        file.write(b"other")
    (view.path / "model.bin").unlink()
    ipfsfs("attach", root, view.path / "again")
    assert (view.path / "again").read_bytes() == LARGE
    view.umount()


def test_a_store_on_another_filesystem_holds_copies_and_says_so(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    store = Path("/dev/shm") / f"ipfsfs-{os.getpid()}-{tmp_path.name}"
    view = mounted(None, "--store", str(store))
    write(view.path / "tree", TREE)
    done = ipfsfs("pin", "add", view.path / "tree")
    assert "The store has copies of 3.3 MB" in done.stderr
    root = done.stdout.strip()
    shutil.rmtree(view.path / "tree")
    ipfsfs("attach", root, view.path / "again")
    _is_tree(view.path / "again")
    assert "3.3 MB of disk are free again" in ipfsfs("pin", "rm", root, "--view", view.path).stdout
    view.umount()


@pytest.mark.kubo
def test_what_is_not_here_is_fetched_when_it_is_pinned(elsewhere: Elsewhere) -> None:
    content: dict[str, bytes | str] = {"a/large": os.urandom(3_000_000), "b/small": os.urandom(99), "b/empty": b""}
    view, at = elsewhere.attached(content)
    ipfsfs("pin", "add", at / "a")
    by_cid = elsewhere.publish({"only/by": os.urandom(2_500_000), "cid": b"x" * 10})
    assert ipfsfs("pin", "add", f"ipfs://{by_cid}", "--view", view.path).stdout.strip() == by_cid
    assert [(pin["files"], pin["complete"]) for pin in view.pins()] == [(1, True), (2, True)]
    tree = at.parent / "tree"
    elsewhere.node.stop()
    try:
        assert (tree / "a/large").read_bytes() == content["a/large"]
        ipfsfs("attach", by_cid, view.path / "again")
        assert len((view.path / "again/only/by").read_bytes()) == 2_500_000
        assert (view.path / "again/cid").read_bytes() == b"x" * 10
    finally:
        elsewhere.node.start()


@pytest.mark.kubo
def test_what_cannot_be_had_fails_names_the_block_and_goes_on_later(
    elsewhere: Elsewhere, mounted: Callable[..., Mounted]
) -> None:
    kept, lost = os.urandom(1_000_000), os.urandom(900_000)
    root = elsewhere.publish({"kept": kept, "lost": lost})
    block = cid.to_text(cid.raw_cid(hashlib.sha256(lost).digest()))
    view = mounted(None, "--gateway", elsewhere.node.gateway, "--patience", "2")
    elsewhere.node.ask("pin", "rm", root)
    elsewhere.node.ask("block", "rm", block)
    done = ipfsfs("pin", "add", root, "--view", view.path, check=False)
    assert done.returncode == 1
    assert block in done.stderr
    (pin,) = view.pins()
    assert (pin["complete"], pin["bytes"]) == (False, len(kept) + len(lost))
    elsewhere.node.put_blocks([lost], view.path.parent)
    view.umount()
    view.mount()
    assert ipfsfs("pin", "add", root, "--view", view.path).stdout.strip() == root
    assert [pin["complete"] for pin in view.pins()] == [True]
    ipfsfs("pin", "rm", root, "--view", view.path)
    assert ipfsfs("pin", "rm", root, "--view", view.path, check=False).returncode == 2


def test_a_pinned_file_whose_leaves_are_dag_pb_needs_no_origin_either(mounted: Callable[..., Mounted]) -> None:
    """As Kubo makes it without raw leaves, which it did before `unixfs-v1-2025`."""
    leaves, blocks = [LARGE[at : at + 262_144] for at in range(0, len(LARGE), 262_144)], dict[bytes, bytes]()
    links = [
        Link(node(blocks, [], Unixfs(Type.FILE, leaf, filesize=len(leaf))), b"", len(leaf) + 14) for leaf in leaves
    ]
    message = Unixfs(Type.FILE, filesize=len(LARGE), blocksizes=[len(leaf) for leaf in leaves])
    root = cid.to_text(node(blocks, links, message))
    with gateway(blocks) as url:
        view = mounted(None, "--gateway", url, "--patience", "2")
        ipfsfs("pin", "add", root, "--view", view.path)
    view.remount()
    ipfsfs("attach", root, view.path / "again")
    assert (view.path / "again").read_bytes() == LARGE
    (view.path / "again").unlink()
    ipfsfs("export", root, view.path.parent / "one.car", "--view", view.path)
    view.umount()
