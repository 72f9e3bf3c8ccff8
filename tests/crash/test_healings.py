"""Healing and pinning while the power is cut: a blob is whole at its name or as it was damaged, what a program wrote is
in the quarantine once it was healed, and what was acknowledged holds."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import heal, pin_add, pin_rm, seal
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import parse
from tests.crash.healing_story import Blob, Done, What
from tests.support.block_server import BlockServer, block_server
from tests.support.filesystems import new_ext4_image
from tests.support.mounted import TREE, Mounted, clear, environment
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import RecordingDisk, recording_disk

pytestmark = pytest.mark.root
CUTS = int(os.environ.get("IPFSFS_HEALING_CUTS", "600"))
SIZE = 1_100_000
BLOBS = "hub/models--a--b/blobs"


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


class Story:
    """Damages, heals and pins blobs in a view on a disk that is recorded."""

    def __init__(self, disk: RecordingDisk, mount: Mounted, server: BlockServer, chance: random.Random) -> None:
        self.disk, self.mount, self.chance = disk, mount, chance
        self.blobs: list[Blob] = []
        for _ in range(3):
            good = chance.randbytes(SIZE)
            reference = parse(server.add(good).encode())
            assert reference is not None
            name = hashlib.sha256(good).hexdigest()
            blob = Blob(f"{BLOBS}/{name}", cid.to_text(reference.root), good)
            path = mount.path / blob.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".incomplete").write_bytes(good)
            path.with_suffix(".incomplete").rename(path)
            link = path.parents[1] / "snapshots" / ("c" * 40) / name[:8]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"../../blobs/{name}")
            self.blobs.append(blob)
        self._sealed()

    @contextmanager
    def _doing(self, blob: Blob, what: What, data: bytes = b"") -> Iterator[None]:
        done = Done(what, self.disk.position(), data)
        blob.done.append(done)
        yield
        done.sure = self.disk.position()

    def round(self, number: int) -> None:
        """Pin one of them; damage each; heal it; unpin."""
        pinned = self.blobs[number % len(self.blobs)]
        with self._doing(pinned, "pinned"):
            ask(self.mount.store, pin_add.Question(path=os.fsencode(pinned.path)))
        for blob in self.blobs:
            if self.chance.random() < 0.7:
                self._overwrite(blob)
            else:
                self._remove(blob)
            if self.chance.random() < 0.5:
                self._forget(blob)
            with self._doing(blob, "healed"):
                answer = ask(self.mount.store, heal.Question((os.fsencode(blob.path),)))
                if answer.not_healed:  # its content was in the quarantine alone, and is not there any more
                    blob.done.pop()
                    assert not (self.mount.path / blob.path).exists(), answer.not_healed
                    self._put_back(blob)
        with self._doing(pinned, "unpinned"):
            ask(self.mount.store, pin_rm.Question(pinned.cid))

    def _overwrite(self, blob: Blob) -> None:
        data, at = bytearray(blob.good), self.chance.randrange(SIZE - 4_000)
        data[at : at + 4_000] = self.chance.randbytes(4_000)
        with self._doing(blob, "written", bytes(data)), (self.mount.path / blob.path).open("r+b") as file:
            file.seek(at)
            file.write(data[at : at + 4_000])
            file.flush()
            os.fsync(file.fileno())
        self._sealed()

    def _remove(self, blob: Blob) -> None:
        with self._doing(blob, "removed"):
            (self.mount.path / blob.path).unlink()
            self._sync_directory()

    def _put_back(self, blob: Blob) -> None:
        with self._doing(blob, "healed"):
            path = self.mount.path / blob.path
            with path.with_suffix(".incomplete").open("wb") as file:
                file.write(blob.good)
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".incomplete").rename(path)
            self._sync_directory()
        self._sealed()

    def _sync_directory(self) -> None:
        fd = os.open(self.mount.path / BLOBS, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _sealed(self) -> None:
        assert ask(self.mount.store, seal.Question()).failed == 0

    def _forget(self, blob: Blob) -> None:
        """Remove the right content from the quarantine, so that an origin has to give it."""
        for path in (self.mount.store / "quarantine").iterdir():
            if path.suffix != ".json" and path.read_bytes() == blob.good:
                path.unlink()
                path.with_name(f"{path.name}.json").unlink()


def _record(mounted: Callable[..., Mounted], server: BlockServer, directory: Path, rounds: int, seed: int) -> None:
    with recording_disk(new_ext4_image(directory / "disk.img", 80), directory) as disk:
        (disk.at / "cache").mkdir()
        mount = mounted(disk.at / "cache", "--gateway", server.url, "--hub", "none")
        mount.expect_logged += ["broken promise", "is removed from the quarantine"]  # the oldest goes
        try:
            story = Story(disk, mount, server, random.Random(seed))
            os.sync()
            first = disk.position()
            for number in range(rounds):
                story.round(number)
            mount.umount()
        finally:
            clear(mount.path)
            wait_until_unused(disk.at)
        mount.finish()
    (directory / "story").write_bytes(pickle.dumps((first, story.blobs)))


def _cut(directory: Path, server: BlockServer, cuts: int, every: int, seed: int) -> dict[str, Any]:
    apart = ["unshare", "--mount", "--propagation", "private"]
    cut = [sys.executable, "-m", "tests.crash.healing_cuts", *map(str, (directory, cuts, every, seed)), server.url]
    done = subprocess.run([*apart, *cut], env=environment(), cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["wrong"] == []
    return found


def test_a_power_cut_in_healing_leaves_the_file_or_the_damaged_one(
    mounted: Callable[..., Mounted], server: BlockServer, tmp_path: Path
) -> None:
    """A few cuts; the campaign below makes many."""
    _record(mounted, server, tmp_path, 1, seed=4)
    found = _cut(tmp_path, server, 12, 6, seed=4)
    assert found["good"] > 0
    assert found["pins"] > 0


@pytest.mark.campaign
@pytest.mark.timeout(36_000)
def test_power_is_cut_many_times_in_healing(
    mounted: Callable[..., Mounted], server: BlockServer, tmp_path: Path
) -> None:
    """IPFSFS_HEALING_CUTS says how often."""
    _record(mounted, server, tmp_path, 4, seed=random.randrange(1 << 30))
    found = _cut(tmp_path, server, CUTS, 15, seed=random.randrange(1 << 30))
    assert min(found[what] for what in ("good", "damaged", "pins")) > 0
