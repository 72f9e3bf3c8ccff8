"""Files of which the disk cannot read a sector: they are found, named, and had again from elsewhere."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.block_server import BlockServer, block_server
from tests.support.failing_disk import FailingDisk, failing_disk
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.repositories import downloaded

pytestmark = pytest.mark.root

LEAF = 1 << 20
DATA = random.Random(61).randbytes(3 * LEAF + 12_345)
OTHER = random.Random(62).randbytes(LEAF + 77)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    with failing_disk(tmp_path) as made:
        yield made


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _wrong(mount: Mounted) -> dict[str, str]:
    """By path, of which kind `verify` says that it is."""
    done = mount.run("verify", mount.path, "--json", check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    return {wrong["path"]: wrong["kind"] for wrong in json.loads(done.stdout)["wrong"]}


def test_what_the_disk_cannot_read_is_found_named_and_healed(
    disk: FailingDisk, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(disk.cache, "--gateway", server.url)
    path, alone = mount.path / "model.bin", mount.path / "alone.bin"
    path.write_bytes(DATA)
    alone.write_bytes(OTHER)
    server.add(DATA)
    mount.seal()
    mount.run("pin", "add", path)
    for one in (path, alone):
        disk.fail(one.name, LEAF + 5)
    assert _wrong(mount) == {str(path): "unreadable", str(alone): "unreadable"}
    assert {found["path"] for found in mount.status()["rot"]} == {"model.bin", "alone.bin"}
    done = mount.run("verify", "--heal", mount.path, "--json", check=False)
    assert done.returncode == 4
    facts = json.loads(done.stdout)
    (healed,) = facts["healed"]
    assert (healed["path"], healed["damage"]) == (str(path), "unreadable")
    assert (facts["pinned"], len(set(server.asked))) == ([], 2), "the leaf of each file that cannot be read"
    assert path.read_bytes() == DATA
    (left,) = facts["not_healed"]
    assert (left["path"], left["damage"]) == (str(alone), "unreadable")
    alone.unlink()
    assert mount.run("verify", mount.path).returncode == 0
    assert mount.status()["rot"] == []


def test_what_was_never_sealed_is_found_as_well_and_a_promised_name_tells_what_it_was(
    disk: FailingDisk, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    with LocalHub(tmp_path / "hub") as hub:
        mount = mounted(disk.cache, "--hub", hub.url)
        repository = downloaded(mount, hub, "org/name", {"model.bin": DATA})
        blob = repository.blob("model.bin")
        (mount.path / "of-a-user").write_bytes(OTHER)
        mount.umount()
        for name in ("index", "index-wal", "index-shm"):
            (mount.store / name).unlink(missing_ok=True)
        for one in (blob, mount.path / "of-a-user"):
            disk.fail(str(one.relative_to(mount.path)), LEAF + 5)
        mount.expect_logged += ["cannot be sealed", "Input/output error"]
        mount.mount()
        assert _wrong(mount) == {str(blob): "unreadable", str(mount.path / "of-a-user"): "unreadable"}
        done = mount.run("restore", blob, "--json")
        (healed,) = json.loads(done.stdout)["healed"]
        assert healed["source"] == f"hub {hub.url}"
        assert hashlib.sha256(repository.file("model.bin").read_bytes()).hexdigest() == blob.name
        (mount.path / "of-a-user").unlink()
        assert mount.run("verify", mount.path).returncode == 0


def test_what_a_pin_holds_and_the_disk_cannot_read_is_healed(
    disk: FailingDisk, server: BlockServer, mounted: Callable[..., Mounted]
) -> None:
    mount = mounted(disk.cache, "--gateway", server.url)
    path = mount.path / "model.bin"
    path.write_bytes(DATA)
    server.add(DATA)
    root = mount.run("pin", "add", path).stdout.strip()
    disk.fail("model.bin", 5)
    path.unlink()
    done = mount.run("verify", mount.path, "--json", check=False)
    (wrong,) = json.loads(done.stdout)["wrong_pinned"]
    assert (wrong["cid"], wrong["detail"]) == (root, "the disk cannot read part of it")
    mount.run("verify", "--heal", mount.path)
    server.is_dead = True
    mount.run("attach", root, mount.path / "again")
    assert (mount.path / "again").read_bytes() == DATA
    mount.umount()
