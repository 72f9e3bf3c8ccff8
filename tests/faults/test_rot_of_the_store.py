"""Rot made for real in what the store holds: `verify` finds it, and `--heal` has it again from an origin."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import parse
from tests.support.block_server import BlockServer, block_server
from tests.support.cars import blocks_of, car_with
from tests.support.mounted import Mounted
from tests.support.rot import Disk, spoilable_disk

pytestmark = pytest.mark.root

LEAF = 1 << 20
DATA = random.Random(60).randbytes(3 * LEAF + 12_345)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _pinned(mount: Mounted, server: BlockServer) -> tuple[str, Path]:
    """Pin a file of the view, of which the server has the blocks, and remove its name."""
    reference = parse(server.add(DATA).encode())
    assert reference is not None
    path = mount.path / "model.bin"
    path.write_bytes(DATA)
    root = mount.run("pin", "add", path).stdout.strip()
    assert root == cid.to_text(reference.root)
    path.unlink()
    return root, mount.store / "extents" / "pinned" / f"{root}.{len(DATA)}"


def test_what_a_pin_holds_and_rotted_is_found_named_and_healed(
    disk: Disk, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(disk.cache, "--gateway", server.url)
    root, kept = _pinned(mount, server)
    assert mount.run("verify", mount.path).returncode == 0
    disk.rot_in_store(kept, 2 * LEAF + 5)
    for _ in range(2):  # with a view, and without one
        done = mount.run("verify", mount.path, "--json", check=False)
        assert done.returncode == 4
        (wrong,) = json.loads(done.stdout)["wrong_pinned"]
        assert (wrong["cid"], wrong["pins"]) == (root, ["model.bin"])
        assert str(2 * LEAF) in wrong["detail"]
        if mount.mounted:
            mount.umount()
    mount.mount()
    (pin,) = mount.pins()
    assert (pin["complete"], pin["damaged"]) == (False, True)
    server.is_empty = True
    done = mount.run("verify", "--heal", mount.path, check=False)
    assert done.returncode == 4
    assert f"not put back (pinned): {root}, of model.bin" in done.stdout
    server.is_empty = False
    server.asked.clear()
    mount.arguments = ("--gateway", server.url)
    mount.remount()
    done = mount.run("verify", "--heal", mount.path)
    assert f"put back (pinned): {root}, of model.bin: from {server.url}" in done.stdout.replace("gateway ", "")
    assert len(server.asked) == 1, "the leaf that rotted, and no other"
    assert mount.run("verify", mount.path).returncode == 0
    (pin,) = mount.pins()
    assert (pin["complete"], pin["damaged"]) == (True, False)
    server.is_dead = True
    mount.run("attach", root, mount.path / "again")
    assert (mount.path / "again").read_bytes() == DATA
    mount.umount()


def test_a_pin_that_rotted_is_had_again_when_it_is_pinned_again(
    disk: Disk, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(disk.cache, "--gateway", server.url)
    root, kept = _pinned(mount, server)
    disk.rot_in_store(kept, 7)
    mount.expect_logged.append("is pinned, and is had again")
    server.is_empty = True
    assert mount.run("pin", "add", root, "--view", mount.path, check=False).returncode == 1
    server.is_empty = False
    mount.remount()
    mount.run("pin", "add", root, "--view", mount.path)
    server.is_dead = True
    mount.run("attach", root, mount.path / "again")
    assert (mount.path / "again").read_bytes() == DATA
    mount.umount()


def test_an_imported_block_that_rotted_is_found_named_and_had_again(
    disk: Disk, server: BlockServer, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    mount = mounted(disk.cache, "--gateway", server.url)
    server.add(DATA)
    root, blocks = blocks_of(DATA)
    (tmp_path / "one.car").write_bytes(car_with(cid.from_text(root), blocks))
    mount.run("import", tmp_path / "one.car", "--view", mount.path)
    mount.run("pin", "add", root, "--view", mount.path)
    leaf = cid.to_text(blocks[-1][0])
    disk.rot_in_store(mount.store / "blocks" / leaf, 100)
    for _ in range(2):
        done = mount.run("verify", mount.path, "--json", check=False)
        assert (done.returncode, json.loads(done.stdout)["wrong_blocks"]) == (4, [leaf])
        if mount.mounted:
            mount.umount()
    mount.mount()
    server.asked.clear()
    done = mount.run("verify", "--heal", mount.path, "--json")
    (block,) = json.loads(done.stdout)["blocks"]
    assert (block["cid"], block["why"]) == (leaf, "")
    assert server.asked == [leaf]
    assert mount.run("verify", mount.path).returncode == 0
