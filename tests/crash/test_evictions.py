"""Evictions that are cut off: by SIGKILL at each line of them, and by the power at each flush and in between.

Afterwards each file is whole at its name, or a link there names it; and the next mount leaves nothing beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import evict, prefetch, seal
from ipfsfs.exchange.eviction import put_right
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.unixfs import reference
from ipfsfs.view.placeholder.ways_back import Stays
from ipfsfs.workers.fetcher.table import LeafTable
from tests.crash.eviction_step import BLOB, CONTENT, evicting
from tests.support.elsewhere import Content, Elsewhere
from tests.support.filesystems import new_ext4_image
from tests.support.hub import LocalHub
from tests.support.mounted import TREE, Mounted, clear, environment, ipfsfs
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import RecordingDisk, recording_disk
from tests.support.repositories import downloaded

CUTS = int(os.environ.get("IPFSFS_EVICTION_CUTS", "1000"))


def _evict_until(directory: Path, line: int) -> bool:
    """Evict a blob up to a line; whether that was beyond the end of it."""
    path = directory / "cache" / BLOB
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(CONTENT)
    step = [sys.executable, "-m", "tests.crash.eviction_step", str(directory), str(line)]
    done = subprocess.run(step, env=environment(), cwd=TREE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout == "done\n"


def _must_be_right(directory: Path) -> bool:
    """Look at the plain directory, and again after what the next mount does first; whether the file is there still."""
    path = directory / "cache" / BLOB
    _file_or_link(path)
    store, plain = Store.open(directory / "store"), PlainDirectory.open(directory / "cache")
    ledger = recovery.open_ledger(store)
    try:
        assert _is_known(path, Extents(store.extents_fd)), "what the link needs was there before it"
        put_right(plain.fd, ledger)
        assert ledger.leaving.all() == []
    finally:
        ledger.close()
        store.close()
        plain.close()
    assert os.listdir(path.parent) == [path.name]
    return _file_or_link(path)


def _file_or_link(path: Path) -> bool:
    if not path.is_symlink():
        assert path.read_bytes() == CONTENT
        return True
    found = reference.parse(os.fsencode(os.readlink(path)))
    assert found is not None
    assert found.size == len(CONTENT)
    return False


def _is_known(path: Path, extents: Extents) -> bool:
    """Whether a file is there, or its leaves are known: from the Hub alone they cannot be had."""
    if not path.is_symlink():
        return True
    found = reference.parse(os.fsencode(os.readlink(path)))
    assert found is not None
    table = LeafTable(extents.read_table(found.root, found.size) or b"")
    return table.size == len(CONTENT)


def _kill_at(directory: Path, lines: list[int]) -> None:
    kept = [_must_be_right(directory) for line in lines if not _evict_until(directory, line)]
    assert kept, "no eviction was cut off"


def _lines(directory: Path) -> int:
    """How many lines an eviction has."""
    first, beyond = 0, 1_024
    while first < beyond:
        line = (first + beyond) // 2
        if _evict_until(directory, line):
            beyond = line
        else:
            first = line + 1
    return first


def test_a_kill_at_a_line_of_an_eviction_leaves_file_or_link(tmp_path: Path) -> None:
    """A few lines; the campaign below takes each."""
    assert _evict_until(tmp_path, 10_000)
    assert not _must_be_right(tmp_path)
    _kill_at(tmp_path, random.Random(1).sample(range(150), 3))


def test_the_next_mount_has_the_file_that_a_killed_eviction_left_beside_its_link(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    path = tmp_path / "cache" / BLOB
    for line in range(100, 1_000, 6):
        assert not _evict_until(tmp_path, line), "no line leaves the file beside its link"
        if any(beside.suffix == ".evicting" and not beside.is_symlink() for beside in path.parent.iterdir()):
            break
    mounted(tmp_path / "cache", "--store", str(tmp_path / "store"))
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == CONTENT


def test_a_store_that_cannot_note_it_costs_that_file_alone(tmp_path: Path) -> None:
    """The ledger fails between the question and the eviction: that is said of the file, and ends nothing."""
    path = tmp_path / "cache" / BLOB
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)

    async def main() -> None:
        async with evicting(tmp_path) as (view, one, back):
            view.seals.ledger.close()
            with pytest.raises(Stays, match="the store cannot note that it goes"):
                await view.room.evicting.evict(one, back)

    trio.run(main)
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
def test_a_kill_at_each_line_of_an_eviction(tmp_path: Path) -> None:
    lines = _lines(tmp_path)
    _kill_at(tmp_path, list(range(lines)))
    print(f"killed at each of {lines} lines")


TREE_CONTENT: Content = {f"file{number}": random.Random(number).randbytes(1_200_000) for number in range(4)}


@contextmanager
def _recorded(directory: Path) -> Iterator[RecordingDisk]:
    """A small disk that is recorded, with a directory for a cache."""
    with recording_disk(new_ext4_image(directory / "disk.img", 48), directory) as disk:
        (disk.at / "cache").mkdir()
        yield disk


def _evict_over_and_over(
    mount: Mounted, disk: RecordingDisk, directory: Path, names: dict[str, bytes], rounds: int
) -> None:
    """Evict and bring files, by their paths, and unmount."""
    try:
        os.sync()
        (directory / "first").write_text(str(disk.position()))
        for _ in range(rounds):
            assert ask(mount.store, seal.Question()).failed == 0
            assert ask(mount.store, evict.Question((b"",))).files == len(names)
            assert ask(mount.store, prefetch.Question((b"",))).failed == 0
    finally:
        clear(mount.path)
        wait_until_unused(disk.at)
    mount.finish()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in names.items()}
    (directory / "names").write_text(json.dumps(digests))


def _record(elsewhere: Elsewhere, mounted: Callable[..., Mounted], directory: Path, rounds: int) -> None:
    """Of files that a node has."""
    root = elsewhere.publish(TREE_CONTENT)
    with _recorded(directory) as disk:
        mount = mounted(disk.at / "cache", *elsewhere.options, "--hub", "none")
        ipfsfs("attach", root, mount.path / "tree")
        ask(mount.store, prefetch.Question((b"tree",)))
        names = {f"tree/{name}": data for name, data in TREE_CONTENT.items() if isinstance(data, bytes)}
        _evict_over_and_over(mount, disk, directory, names, rounds)


def _record_hub(hub: LocalHub, mounted: Callable[..., Mounted], directory: Path, rounds: int) -> None:
    """Of files that only the Hub has."""
    (directory / "needs-tables").touch()
    with _recorded(directory) as disk:
        mount = mounted(disk.at / "cache", "--hub", hub.url)
        files = {f"{name}.bin": data for name, data in TREE_CONTENT.items() if isinstance(data, bytes)}
        repository = downloaded(mount, hub, "org/name", files)
        names = {str(repository.blob(name).relative_to(mount.path)): data for name, data in files.items()}
        _evict_over_and_over(mount, disk, directory, names, rounds)


def _cut(directory: Path, cuts: int, seed: int) -> None:
    apart = ["unshare", "--mount", "--propagation", "private"]
    cut = [sys.executable, "-m", "tests.crash.eviction_cuts", str(directory), str(cuts), str(seed)]
    done = subprocess.run([*apart, *cut], env=environment(), cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["wrong"] == []
    assert found["files"] > 0
    assert found["links"] > 0


@pytest.mark.root
@pytest.mark.kubo
def test_a_power_cut_in_an_eviction_leaves_file_or_link(
    elsewhere: Elsewhere, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """A few cuts; the campaign below makes many."""
    _record(elsewhere, mounted, tmp_path, 1)
    _cut(tmp_path, 8, seed=2)


@pytest.mark.root
def test_a_power_cut_in_an_eviction_leaves_what_a_link_to_the_hub_needs(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    with LocalHub(tmp_path / "the-hub") as hub:
        _record_hub(hub, mounted, tmp_path, 1)
    _cut(tmp_path, 8, seed=2)


@pytest.mark.root
@pytest.mark.kubo
@pytest.mark.campaign
@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("origin", ["a node", "the Hub"])
def test_power_is_cut_many_times_in_evictions(
    origin: str, elsewhere: Elsewhere, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """IPFSFS_EVICTION_CUTS says how often."""
    if origin == "a node":
        _record(elsewhere, mounted, tmp_path, 6)
    else:
        with LocalHub(tmp_path / "the-hub") as hub:
            _record_hub(hub, mounted, tmp_path, 6)
    _cut(tmp_path, CUTS, seed=random.randrange(1 << 30))
