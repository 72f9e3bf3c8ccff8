"""Evicting and bringing ahead: what an origin has gives its place to a link, and comes back as it was."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import prefetch
from ipfsfs.daemon.questions.evict import Answer, Question
from ipfsfs.unixfs import cid
from tests.support.calls import cid_of
from tests.support.elsewhere import Content, Elsewhere, eventually_resident, plain_link, plain_root
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually

pytestmark = pytest.mark.kubo

LEAF = 1 << 20
CONTENT = os.urandom(5 * LEAF)
PROMISE = hashlib.sha256(CONTENT).hexdigest()


def evict(view: Mounted, *paths: Path, dry_run: bool = False) -> Answer:
    """What the daemon says when it is asked to evict paths."""
    return ask(view.store, Question(tuple(bytes(path.relative_to(view.path)) for path in paths), None, dry_run))


def reasons(view: Mounted, *paths: Path) -> dict[str, str]:
    """Why files stay, by their names; none goes."""
    said = evict(view, *paths)
    assert said.files == 0
    return {Path(one.path).name: one.why for one in said.stays}


def bring(view: Mounted, *paths: Path) -> prefetch.Answer:
    """What the daemon says when it is asked to bring paths."""
    return ask(view.store, prefetch.Question(tuple(bytes(path.relative_to(view.path)) for path in paths)))


def brought(elsewhere: Elsewhere, name: str = "file", *arguments: str) -> tuple[Mounted, Path]:
    """A view, and a file in it that came from the node and is sealed."""
    view, at = elsewhere.attached({name: CONTENT}, *arguments)
    assert (at / name).read_bytes() == CONTENT
    eventually_resident(view, at / name)
    view.seal()
    return view, at / name


def test_what_came_from_an_origin_goes_and_comes_back_as_the_same_file(elsewhere: Elsewhere) -> None:
    view, path = brought(elsewhere)
    os.chmod(path, 0o640)
    os.utime(path, ns=(10**18 + 1, 10**18 + 2))
    view.seal()
    before = path.stat()
    done = ipfsfs("evict", path)
    assert done.stdout == "Evicted 1 file, 5.2 MB.\n"
    text = plain_link(view, path)
    assert text is not None
    assert "mode=0640" in text
    after = path.stat()
    for name in ("st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink"):
        assert getattr(after, name) == getattr(before, name), name
    assert stat.S_ISREG(after.st_mode)
    assert os.listdir(path.parent) == ["file"]
    assert path.read_bytes() == CONTENT
    assert bring(view, path).files == 1
    assert plain_link(view, path) is None
    assert path.read_bytes() == CONTENT
    assert path.stat().st_ino == before.st_ino
    view.seal()
    assert evict(view, path).files == 1, "it came from an origin again"
    assert evict(view, path).not_here == 1, "what is not here is no failure"


def test_a_leaf_of_zeros_that_no_node_was_asked_for_keeps_no_file(elsewhere: Elsewhere) -> None:
    content = os.urandom(1 << 20) + bytes(1 << 20) + os.urandom(1000)
    zeros = cid.to_text(cid.raw_cid(hashlib.sha256(bytes(1 << 20)).digest()))
    root = elsewhere.publish({"file": content})
    elsewhere.node.ask("pin", "rm", root)
    elsewhere.node.ask("block", "rm", zeros)  # as at a node through which the file came
    view = elsewhere.view()
    ipfsfs("attach", root, view.path / "tree")
    file = view.path / "tree" / "file"
    assert file.read_bytes() == content
    eventually_resident(view, file)
    view.seal()
    assert "zeros" in ipfsfs("why", file).stdout
    ipfsfs("evict", file)
    assert plain_link(view, file) is not None
    assert "\nfrom" not in ipfsfs("why", file).stdout, "nothing of it is here, from wherever it came"
    assert file.read_bytes() == content


def test_a_blob_goes_whose_name_promises_what_the_node_has(elsewhere: Elsewhere) -> None:
    elsewhere.publish({"file": CONTENT})
    view = elsewhere.view()
    repository = view.path / "hub" / "models--o--n"
    blobs = repository / "blobs"
    (blobs / "small").parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (blobs / PROMISE).write_bytes(CONTENT)
    (snapshot / "model.bin").symlink_to(f"../../blobs/{PROMISE}")
    view.seal()
    assert [Path(one.path).name for one in evict(view, snapshot, dry_run=True).went] == [PROMISE]
    assert plain_link(view, blobs / PROMISE) is None
    assert evict(view, snapshot / "model.bin").files == 1
    assert plain_link(view, blobs / PROMISE) is not None
    assert (repository / "refs" / "main").read_text() == "0" * 40
    view.remount()
    assert (snapshot / "model.bin").read_bytes() == CONTENT
    eventually_resident(view, blobs / PROMISE)
    view.seal()
    assert evict(view, repository).files == 1


def test_what_came_by_xet_goes_through_the_link_that_promises_it(elsewhere: Elsewhere) -> None:
    elsewhere.publish({"file": CONTENT})
    view = elsewhere.view()
    shared = view.path / "hub" / "blobs" / "ab" / ("ab" * 32)
    blob = view.path / "hub" / "models--o--n" / "blobs" / PROMISE
    shared.parent.mkdir(parents=True)
    blob.parent.mkdir(parents=True)
    shared.write_bytes(CONTENT)
    shared.chmod(0o444)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    view.seal()
    assert "made here" in reasons(view, shared)[shared.name], "its own name promises nothing"
    assert evict(view, blob.parent.parent).files == 1
    assert (plain_link(view, shared) or "").endswith("&mode=0444")
    assert os.path.samefile(blob, shared)
    assert shared.stat().st_mode & 0o777 == 0o444
    view.remount()
    assert blob.read_bytes() == CONTENT
    eventually_resident(view, shared)
    assert shared.stat().st_mode & 0o777 == 0o444


def test_what_users_made_is_open_or_has_what_a_link_cannot_keep_stays(elsewhere: Elsewhere) -> None:
    view, path = brought(elsewhere)
    tree = path.parent
    (tree / "mine").write_bytes(CONTENT)
    (tree / "unknown").write_bytes(b"nobody has this" * 1000)
    view.seal()
    said = reasons(view, tree / "mine", tree / "unknown")
    assert "made here" in said["mine"]
    assert "made here" in said["unknown"]
    with path.open("rb"):
        assert "open" in reasons(view, path)["file"]
    os.link(path, tree / "second")
    assert "other names" in reasons(view, path)["file"]
    (tree / "second").unlink()
    os.setxattr(path, "user.note", b"mine")
    view.seal()
    assert "extended attributes" in reasons(view, path)["file"]
    os.removexattr(path, "user.note")
    with path.open("r+b") as file:
        file.write(b"changed")
    eventually(lambda: cid_of(path), "sealed again, once the kernel has told of the end of the write")
    assert reasons(view, path)["file"].startswith(("it was changed", "no origin"))
    assert path.read_bytes() == b"changed" + CONTENT[7:]
    assert plain_link(view, path) is None


def test_h28_who_opened_it_beneath_the_view_keeps_it(elsewhere: Elsewhere) -> None:
    view, path = brought(elsewhere)
    # By the daemon's own descriptor of the plain directory: another program that works beneath the view.
    fd = os.open(plain_root(view) / path.relative_to(view.path), os.O_RDWR)
    try:
        assert "open" in reasons(view, path)["file"]
        os.write(fd, b"written beneath")
    finally:
        os.close(fd)
    assert path.read_bytes() == b"written beneath" + CONTENT[15:]


def test_h33_what_no_origin_has_at_that_moment_stays(elsewhere: Elsewhere, tmp_path: Path) -> None:
    view, path = brought(elsewhere)
    elsewhere.node.stop()
    try:
        assert "no origin has all of it now" in reasons(view, path)["file"]
    finally:
        elsewhere.node.start()
    content = os.urandom(200 * 4096)  # so many leaves that those which are fetched as a proof do not find it
    (tmp_path / "other").write_bytes(content)
    root = elsewhere.node.ask("add", "-Q", "--chunker=size-4096", str(tmp_path / "other")).strip()
    other = view.path / "other"
    ipfsfs("attach", root, other)
    assert other.read_bytes() == content
    eventually_resident(view, other)
    view.seal()
    elsewhere.node.lose(root, content[100 * 4096 : 101 * 4096])
    said = reasons(view, other)["other"]
    assert "no origin has all of it now" in said
    assert other.read_bytes() == content
    assert plain_link(view, other) is None


def test_h30_nothing_below_a_load_dataset_cache_goes(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"datasets/a/1.0/data.arrow": CONTENT, "b/data.arrow": CONTENT})
    paths = [at / "datasets" / "a" / "1.0" / "data.arrow", at / "b" / "data.arrow"]
    (at / "b" / "dataset_info.json").write_text("{}")
    for path in paths:
        assert path.read_bytes() == CONTENT
        eventually_resident(view, path)
    view.seal()
    assert evict(view, at / "datasets", at / "b").files == 0
    assert "load_dataset" in reasons(view, *paths)["data.arrow"]


def test_prefetch_brings_all_and_names_what_cannot_be_had(elsewhere: Elsewhere) -> None:
    gone = os.urandom(2 * LEAF)
    tree: Content = {"file": CONTENT, "below/small": b"small", "gone": gone}
    view, at = elsewhere.attached(tree, "--patience", "3")
    elsewhere.node.lose(elsewhere.publish(tree), gone[:LEAF])
    view.expect_logged.append("tree/gone")
    done = ipfsfs("prefetch", at, "--dry-run")
    assert "Would fetch 3 files" in done.stdout
    done = ipfsfs("prefetch", at, "--json", check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 1, done.stderr
    assert [Path(one["path"]).name for one in said["missing"]] == ["gone"]
    assert (said["files"], said["failed"], said["bytes_done"]) == (3, 1, len(CONTENT) + 5)
    assert plain_link(view, at / "file") is None
    assert plain_link(view, at / "below" / "small") is None
    elsewhere.node.stop()
    try:
        assert (at / "file").read_bytes() == CONTENT
    finally:
        elsewhere.node.start()
    assert ipfsfs("prefetch", at / "below").stdout == "Fetched 0 files: all that was named is here.\n"


def test_evict_without_a_name_or_an_origin_says_so(elsewhere: Elsewhere, tmp_path: Path) -> None:
    assert ipfsfs("evict", check=False).returncode == 2
    path = tmp_path / "plain"
    path.mkdir()
    done = ipfsfs("evict", path, check=False)
    assert done.returncode == 5
    view = Mounted(path, ("--hub", "none")).mount()
    try:
        (path / "file").write_bytes(b"bytes")
        done = ipfsfs("evict", path / "file", check=False)
        assert done.returncode == 1
        assert "without an origin" in done.stderr
    finally:
        view.umount()


def test_a_pinned_file_stays(elsewhere: Elsewhere) -> None:
    view, path = brought(elsewhere)
    ipfsfs("pin", "add", path)
    assert reasons(view, path)["file"] == "it is pinned"
    ipfsfs("pin", "rm", path)
    assert evict(view, path).files == 1
