"""What is removed from a view's store, and what stays (S40)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import directory, file
from ipfsfs.unixfs.cid import from_text
from tests.support.cars import blocks_of, car_with
from tests.support.elsewhere import Elsewhere, eventually_resident
from tests.support.mounted import TREE, UNASKED_END, Mounted, environment, ipfsfs

BIG = os.urandom(3_500_000)
ROOT, BLOCKS = blocks_of(BIG)


@pytest.fixture
def car(tmp_path: Path) -> Path:
    """A CAR of BIG."""
    path = tmp_path / "one.car"
    path.write_bytes(car_with(from_text(ROOT), BLOCKS))
    return path


def blocks_in(view: Mounted) -> set[str]:
    """The names of the blocks in the store of a view."""
    return set(os.listdir(view.store / "blocks"))


def extents_of(view: Mounted) -> set[str]:
    """The CIDs of which the store of a view has an extent, a table, or what is left of one."""
    return {name.partition(".")[0] for name in os.listdir(view.store / "extents")} - {"pinned"}


@pytest.mark.kubo
def test_rm_removes_what_the_store_holds_and_no_file(elsewhere: Elsewhere, car: Path) -> None:
    view = elsewhere.view("--chunker", "fixed")
    at = ("--view", str(view.path))
    ipfsfs("import", car, *at)
    (view.path / "file").write_bytes(BIG)
    view.seal()
    done = ipfsfs("rm", ROOT, *at, check=False)
    assert blocks_in(view) == set()
    assert (view.path / "file").read_bytes() == BIG
    assert done.returncode == 1
    assert f"{view.path}/file has this content, and stays" in done.stderr
    (view.path / "file").unlink()
    ipfsfs("import", car, *at)
    assert ipfsfs("rm", ROOT, *at).returncode == 0
    assert ipfsfs("exists", ROOT, *at, check=False).returncode == 1


@pytest.mark.kubo
def test_what_a_pin_holds_is_neither_removed_nor_collected(elsewhere: Elsewhere, car: Path) -> None:
    view = elsewhere.view()
    at = ("--view", str(view.path))
    ipfsfs("import", car, "--to", view.path / "file")
    ipfsfs("pin", "add", view.path / "file")
    done = ipfsfs("rm", ROOT, *at, check=False)
    assert done.returncode == 1
    assert f"{ROOT} is pinned, and stays" in done.stderr
    (view.path / "file").unlink()
    ipfsfs("collect", *at)
    ipfsfs("attach", ROOT, view.path / "again")
    assert (view.path / "again").read_bytes() == BIG


@pytest.mark.kubo
def test_collect_removes_what_no_placeholder_needs(elsewhere: Elsewhere, car: Path) -> None:
    content = os.urandom(30 << 20)
    view, at = elsewhere.attached({"kept": content, "dropped": content[::-1]})
    here = ("--view", str(view.path))
    for name in ("kept", "dropped"):  # the first part of each comes, and then no more is asked for
        with (at / name).open("rb", buffering=0) as one:
            one.read(1000)
    ipfsfs("import", car, *here)
    (view.store / "blocks" / "0123.new").write_bytes(b"left")
    kept, dropped = (one["cid"] for one in json.loads(ipfsfs("ls", at, "--json").stdout)[::-1])
    (at / "dropped").unlink()

    before = extents_of(view), blocks_in(view)
    assert before[0] == {kept, dropped}
    would = json.loads(ipfsfs("collect", "--dry-run", *here, "--json").stdout)
    assert (extents_of(view), blocks_in(view)) == before
    did = json.loads(ipfsfs("collect", *here, "--json").stdout)
    assert {**did, "dry_run": True} == would, "a dry run says what is done"
    assert did["blocks"] == len(BLOCKS) + 1
    assert did["blocks_bytes"] >= len(BIG)
    assert did["extents_bytes"] > 1000
    assert (extents_of(view), blocks_in(view)) == ({kept}, set())
    assert (at / "kept").read_bytes() == content
    eventually_resident(view, at / "kept")


def test_collect_keeps_what_was_imported_and_is_attached(alone: Mounted, tmp_path: Path) -> None:
    view = alone
    files = {b"one": BIG, b"two": BIG[::-1]}
    blocks: list[tuple[bytes, bytes]] = []
    named: list[directory.Entry] = []
    for name, content in files.items():
        root, of_file = blocks_of(content)
        blocks += of_file
        named.append(directory.Entry(name, from_text(root), file.fixed_tsize(len(content))))
    dag = file.finish(directory.building(named))
    blocks += dag.nodes
    (tmp_path / "tree.car").write_bytes(car_with(dag.cid, blocks))
    ipfsfs("import", tmp_path / "tree.car", "--to", view.path / "tree")
    (view.path / "tree" / "two").unlink()
    ipfsfs("collect", "--view", view.path)
    assert (view.path / "tree" / "one").read_bytes() == BIG, "it can be had from nowhere else"
    eventually_resident(view, view.path / "tree" / "one")
    ipfsfs("collect", "--view", view.path)
    assert blocks_in(view) == set(), "it is an ordinary file by now"


def test_a_collect_that_is_killed_is_completed_by_the_next(alone: Mounted, tmp_path: Path) -> None:
    view = alone
    small = [number.to_bytes(2) for number in range(300)]
    root, blocks = blocks_of(b"".join(small), size=2)
    (tmp_path / "many.car").write_bytes(car_with(from_text(root), blocks))
    ipfsfs("import", tmp_path / "many.car", "--to", view.path / "file")
    (view.path / "file").unlink()
    whole = blocks_in(view)
    collecting = subprocess.Popen(
        [sys.executable, "-m", "ipfsfs", "collect", "--view", str(view.path)],
        env=environment(),
        cwd=TREE,
        stdout=subprocess.DEVNULL,
    )
    while blocks_in(view) == whole and collecting.poll() is None:
        pass
    collecting.kill()
    collecting.wait()
    extents = view.store / "extents"
    (extents / "0123456789abcdef.removed").write_bytes(b"set aside by a daemon that was killed then")
    (extents / "pinned" / f"{ROOT}.3500000").write_bytes(b"what a pin held that was removed")
    (extents / "pinned" / f"{ROOT}.car.new").write_bytes(b"what a pin had begun")
    view.expect_logged.append(UNASKED_END)
    view.kill()
    view.mount()
    ipfsfs("collect", "--view", view.path)
    assert blocks_in(view) == set()
    assert extents_of(view) == set()
    assert os.listdir(extents / "pinned") == []


def test_what_is_attached_or_pinned_is_not_collected_meanwhile(mounted: Callable[..., Mounted], car: Path) -> None:
    """Of imported blocks nobody else need have a copy: none goes while it is being given a name."""
    view = mounted()
    at = ("--view", str(view.path))
    ipfsfs("import", car, *at)
    before = blocks_in(view)
    with Blocks.of(view.store) as blocks:
        with blocks.changing():  # as `collect` does
            for arguments in (("attach", ROOT, view.path / "file"), ("pin", "add", ROOT, *at)):
                done = ipfsfs(*arguments, check=False)
                assert done.returncode == 3
                assert "another command imports blocks into the store, or removes some" in done.stderr
        assert not (view.path / "file").exists()
        with blocks.needing():  # as `attach` does
            assert ipfsfs("collect", *at, check=False).returncode == 3
    assert blocks_in(view) == before
    ipfsfs("attach", ROOT, view.path / "file")
    ipfsfs("collect", *at)
    assert (view.path / "file").read_bytes() == BIG
    view.umount()
