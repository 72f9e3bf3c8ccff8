"""Rot made for real is healed: only the leaves that rotted are fetched, by CID from a node, by ranges from the Hub."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hub import LocalHub
from tests.support.kubo_node import CANARY, KuboNode
from tests.support.mounted import Mounted
from tests.support.repositories import downloaded
from tests.support.rot import Disk, spoilable_disk

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("unasked")]

LEAF = 1 << 20
DATA = random.Random(8).randbytes(6 * LEAF + 12_345)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with spoilable_disk(tmp_path) as made:
        yield made


def test_h18_the_hub_gives_the_ranges_that_rotted(disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        mount = mounted(disk.cache, "--hub", hub.url)
        repository = downloaded(mount, hub, "org/name", {"model.bin": DATA})
        mount.seal()
        blob = repository.blob("model.bin")
        before = blob.stat()
        mount.expect_logged += [": rot: "]
        for at in (2 * LEAF + 5, 6 * LEAF + 7):
            disk.rot(str(blob.relative_to(mount.path)), at)
        with pytest.raises(OSError, match="Input/output error"):
            blob.read_bytes()
        hub.spoil("org/name", "model.bin", flip=2 * LEAF + 9)
        assert mount.run("restore", blob, check=False).returncode == 1, "its leaf is not what it gives"
        with pytest.raises(OSError, match="Input/output error"):
            blob.read_bytes()
        hub.heal("org/name", "model.bin")
        asked = len(hub.requests("org/name"))
        (healed,) = json.loads(mount.run("restore", blob, "--json").stdout)["healed"]
        assert healed["damage"] == "rot"
        assert repository.file("model.bin").read_bytes() == DATA
        assert blob.stat().st_mtime_ns == before.st_mtime_ns
        ranges = {one.range for one in hub.requests("org/name")[asked:] if one.sent}
        whole = f"bytes={2 * LEAF}-{3 * LEAF - 1}"
        assert whole in ranges
        assert len(ranges) <= 2, "what came before is not fetched again"
        assert mount.status()["rot"] == []
        assert mount.run("verify", mount.path).returncode == 0


@pytest.mark.kubo
def test_a_node_gives_the_leaves_that_rotted(
    disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path, kubo: KuboNode
) -> None:
    secret = tmp_path / "authorization"
    secret.write_text(f"Bearer {CANARY}\n")
    options = ("--kubo", kubo.api, "--kubo-authorization-file", str(secret))
    mount = mounted(disk.cache, *options, "--hub", "none")
    path = mount.path / "dataset.bin"
    path.write_bytes(DATA)
    zeros = mount.path / "zeros"
    zeros.write_bytes(bytes(2 * LEAF) + DATA[:LEAF])
    lost = mount.path / "lost"
    lost.write_bytes(DATA[::-1][:LEAF])
    mount.seal()
    mount.run("publish", path, "--private-too", *options)
    mount.expect_logged += [": rot: "]
    disk.rot("dataset.bin", 3 * LEAF)
    disk.rot("zeros", 2 * LEAF + 1)
    disk.rot("lost", 0)
    done = mount.run("verify", "--heal", mount.path, "--json", check=False)
    assert done.returncode == 4
    facts = json.loads(done.stdout)
    assert {one["path"] for one in facts["healed"]} == {str(path), str(zeros)}, "one leaf is in both"
    assert path.read_bytes() == DATA
    assert zeros.read_bytes() == bytes(2 * LEAF) + DATA[:LEAF]
    (left,) = facts["not_healed"]
    assert left["path"] == str(lost)
    assert kubo.api.rpartition(":")[2] in left["why"], "who was asked"
    assert [found["path"] for found in mount.status()["rot"]] == ["lost"]
    lost.unlink()


def test_a_pin_has_the_healed_bytes_of_a_file_that_it_shares(
    disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """The store had a second name of the very file that rotted: it gets one of the file that took its place."""
    with LocalHub(tmp_path / "hub") as hub:
        mount = mounted(disk.cache, "--hub", hub.url)
        repository = downloaded(mount, hub, "org/name", {"model.bin": DATA})
        mount.seal()
        blob = repository.blob("model.bin")
        root = mount.run("pin", "add", blob).stdout.strip()
        mount.expect_logged += [": rot: "]
        disk.rot(str(blob.relative_to(mount.path)), 2 * LEAF + 5)
        with pytest.raises(OSError, match="Input/output error"):
            blob.read_bytes()
        mount.run("restore", blob)
        assert blob.read_bytes() == DATA
        assert blob.stat().st_nlink == 1
        assert [pin["complete"] for pin in mount.pins()] == [True]
        blob.unlink()
        mount.run("attach", root, mount.path / "again")
        assert (mount.path / "again").read_bytes() == DATA
        mount.umount()


@pytest.mark.parametrize("how", ["one of them", "all"])
def test_all_names_of_a_file_that_rotted_have_the_healed_one(
    how: str, disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """As `dedup` leaves it: blobs of two repositories are one inode; and a user has linked it as well."""
    with LocalHub(tmp_path / "hub") as hub:
        mount = mounted(disk.cache, "--hub", hub.url)
        first = downloaded(mount, hub, "org/name", {"model.bin": DATA})
        second = downloaded(mount, hub, "org/other", {"same.bin": DATA})
        mount.seal()
        mount.run("dedup", mount.path)
        blobs = [first.blob("model.bin"), second.blob("same.bin")]
        own = mount.path / "my own name"
        own.hardlink_to(blobs[0])
        assert {path.stat().st_ino for path in (*blobs, own)} == {own.stat().st_ino}
        mount.seal()
        mount.run("pin", "add", own)
        mount.expect_logged += [": rot: "]
        disk.rot(str(blobs[0].relative_to(mount.path)), 2 * LEAF + 5)
        for path in (*blobs, own):
            with pytest.raises(OSError, match="Input/output error"):
                path.read_bytes()
        done = mount.run("restore", blobs[0] if how == "one of them" else mount.path, "--json")
        (healed,) = json.loads(done.stdout)["healed"]
        assert {healed["path"], *healed["also"]} == {str(path) for path in (*blobs, own)}
        for path in (*blobs, own):
            assert path.read_bytes() == DATA
        assert len({path.stat().st_ino for path in (*blobs, own)}) == 1, "it is one file still"
        assert own.stat().st_nlink == 3
        assert mount.status()["rot"] == []
        assert mount.run("verify", mount.path).returncode == 0
        assert [pin["complete"] for pin in mount.pins()] == [True]


def test_what_a_user_linked_and_wrote_over_stays_when_the_blob_is_put_back(
    disk: Disk, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        mount = mounted(disk.cache, "--hub", hub.url)
        repository = downloaded(mount, hub, "org/name", {"model.bin": DATA})
        own = mount.path / "my own name"
        own.hardlink_to(repository.blob("model.bin"))
        mount.seal()
        mount.expect_logged += ["broken promise"]
        with own.open("r+b") as file:
            file.write(b"mine")
        mount.seal()
        mount.run("restore", repository.blob("model.bin"))
        assert repository.file("model.bin").read_bytes() == DATA
        assert own.read_bytes() == b"mine" + DATA[4:]
