"""Blobs of other machines whose names are moved away, and names at which nothing can be made."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.filesystems import mounted_tmpfs
from tests.support.hub import LocalHub
from tests.support.mounted import Mounted
from tests.support.site import free_port
from tests.support.two_machines import REPO, OnLoopback, digest, liar, two
from tests.support.weights import safetensors

WEIGHTS = safetensors({"a": random.Random(1).randbytes(12_000_000)})
PICKLE = random.Random(2).randbytes(3_000_000)
OTHER_PICKLE = random.Random(4).randbytes(3_000_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with LocalHub(tmp_path / "served") as running:
        running.add(REPO, {"config.json": b"{}"})
        yield running


@pytest.fixture
def lied_to(hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[OnLoopback]:
    """A machine whose only peer lies: it has another pickle under the name of the right one."""
    ours, theirs = free_port(), free_port()
    machine = OnLoopback.make(mounted, hub, tmp_path / "ours", (ours, theirs))
    machine.view.expect_logged += ["another machine said", "its name promises another"]
    lying = liar(tmp_path / "liar", theirs, [ours], {digest(PICKLE): OTHER_PICKLE})
    try:
        yield machine
    finally:
        lying.server.close()


@pytest.mark.parametrize("moved", ["file", "blobs", "repository"])
def test_h52_what_is_not_proven_is_not_so_at_a_place_that_promises_nothing(lied_to: OnLoopback, moved: str) -> None:
    lied_to.wants({"pytorch_model.bin": PICKLE})
    blob = lied_to.appears(PICKLE)
    away = lied_to.repository.parent / "away"
    away.mkdir()
    what = {"file": blob, "blobs": blob.parent, "repository": lied_to.repository}[moved]
    if moved == "file":  # it is fetched first, which proves what it is
        with pytest.raises(OSError) as failed:  # noqa: PT011
            what.rename(away / what.name)
        assert failed.value.errno == errno.EIO
        assert not blob.exists()
        return
    what.rename(away / what.name)
    for file in away.rglob(blob.name):
        with pytest.raises(OSError) as failed:  # noqa: PT011
            file.read_bytes()
        assert failed.value.errno == errno.EIO
        file.unlink(missing_ok=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for few files."""
    with mounted_tmpfs(tmp_path, "size=64m,nr_inodes=300") as at:
        yield at


@pytest.fixture
def told_the_truth(small: Path, hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path) -> Iterator[OnLoopback]:
    """A machine on a small filesystem, whose only peer has the weights."""
    ours, theirs = free_port(), free_port()
    store = tmp_path / "store"
    store.mkdir()
    machine = OnLoopback.make(mounted, hub, small / "ours", (ours, theirs), "--store", str(store))
    one = liar(tmp_path / "one", theirs, [ours], {digest(WEIGHTS): WEIGHTS})
    try:
        yield machine
    finally:
        one.server.close()


def test_h50_what_is_moved_away_does_not_come_back_by_itself(told_the_truth: OnLoopback) -> None:
    told_the_truth.wants({"model.safetensors": WEIGHTS})
    blob = told_the_truth.appears(WEIGHTS)
    kept = blob.with_name("kept")
    blob.rename(kept)
    for _ in range(20):
        assert not blob.exists()
        time.sleep(0.05)
    assert kept.read_bytes() == WEIGHTS


def _make_files(at: Path, count: int) -> None:
    for number in range(count):
        (at / str(number)).write_bytes(b"")


def test_to_look_at_a_name_does_not_fail_where_nothing_can_be_made(told_the_truth: OnLoopback) -> None:
    blobs = told_the_truth.repository / "blobs"
    told_the_truth.wants({"model.safetensors": WEIGHTS})
    with pytest.raises(OSError, match="No space left"):
        _make_files(blobs, 400)
    for _ in range(40):
        with pytest.raises(FileNotFoundError):
            told_the_truth.blob(WEIGHTS).stat()
        time.sleep(0.05)
    for file in blobs.iterdir():
        file.unlink()
    told_the_truth.appears(WEIGHTS)
    told_the_truth.bring_all()


def test_h49_what_comes_by_xet_is_waited_for_until_others_can_have_it(
    hub: LocalHub, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """Its client moves the blob into the store that clients share, and puts a link in its place."""
    hub.add("org/xet", {"model.safetensors": WEIGHTS}, xet=True)
    one, other = two(mounted, hub, tmp_path)
    one.clients.hf_ok("download", "org/xet", "--quiet")
    path = Path(other.clients.hf_ok("download", "org/xet", "--quiet").strip())
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert other.from_peers() >= 0.9 * len(WEIGHTS)
    other.bring_all()
