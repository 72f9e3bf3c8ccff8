"""Files that become resident, while the daemon is killed or the power is cut: each is a link that names its content, or
has all of it; nothing in between, and nothing is left behind."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.crash.hydration import contents, read_through_view, states
from tests.support.block_server import BlockServer, block_server
from tests.support.elsewhere import eventually_resident
from tests.support.filesystems import new_ext4_image
from tests.support.mounted import TREE, Mounted, clear, environment
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import recording_disk

KILLS = int(os.environ.get("IPFSFS_STEP_KILLS", "200"))
CUTS = int(os.environ.get("IPFSFS_CUTS", "2000"))


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


def _place(directory: Path, server: BlockServer, seed: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """Make a link for each file in a directory that is not mounted; returns their contents and texts."""
    files = contents(seed)
    texts = {name: server.add(data) for name, data in files.items()}
    for name, text in texts.items():
        (directory / name).unlink(missing_ok=True)
        os.symlink(text, directory / name)
    return files, texts


def _read(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError), path.open("rb") as file:
            file.read()


def _kill_while_hydrating(mount: Mounted, server: BlockServer, count: int, seed: int) -> None:
    """Kill at moments that are drawn anew each time from the time that it takes."""
    chance = random.Random(seed)
    found = {"link": 0, "file": 0}
    for number in range(count):
        files, texts = _place(mount.path, server, seed * 1_000 + number)
        mount.mount()
        reader = threading.Thread(target=_read, args=([mount.path / name for name in files],))
        reader.start()
        time.sleep(chance.uniform(0.0, 1.5))
        mount.kill()
        reader.join(60)
        for one in states(mount.path, files, texts):
            found[one] += 1
        assert read_through_view(mount.path, files, server.url) == []
        assert not [one for one in states(mount.path, files, texts) if one not in found]
    print(f"{count} kills: {found}")
    assert count < 20 or min(found.values()) > 0, "the kills came too early or too late"


@pytest.fixture
def unmounted(mounted: Callable[..., Mounted], server: BlockServer, tmp_path: Path) -> Mounted:
    """A cache that is mounted and unmounted by the test."""
    (tmp_path / "cache").mkdir()
    mount = mounted(tmp_path / "cache", "--gateway", server.url, "--patience", "10")
    mount.umount()
    return mount


def test_a_file_whose_hydration_is_killed_is_a_link_or_whole(unmounted: Mounted, server: BlockServer) -> None:
    """A few kills; the campaign below makes hundreds."""
    _kill_while_hydrating(unmounted, server, 3, seed=1)


@pytest.mark.campaign
@pytest.mark.timeout(36_000)
def test_hydration_is_killed_hundreds_of_times(unmounted: Mounted, server: BlockServer) -> None:
    """IPFSFS_STEP_KILLS says how often."""
    _kill_while_hydrating(unmounted, server, KILLS, seed=random.randrange(1 << 30))


def _record(mounted: Callable[..., Mounted], server: BlockServer, directory: Path, seed: int) -> None:
    """Have files become resident on a disk that is recorded; leaves image, log and story in the directory."""
    with recording_disk(new_ext4_image(directory / "disk.img", 64), directory) as disk:
        cache = disk.at / "cache"
        cache.mkdir()
        files, texts = _place(cache, server, seed)
        os.sync()
        mount = mounted(cache, "--gateway", server.url)
        try:
            first = disk.position()
            for name, data in files.items():
                assert (cache / name).read_bytes() == data
                eventually_resident(mount, cache / name)
            mount.umount()
        finally:
            clear(cache)
            wait_until_unused(disk.at)
        mount.finish()
    (directory / "story").write_bytes(pickle.dumps((first, files, texts)))


def _cut(directory: Path, server: BlockServer, cuts: int, every: int, seed: int) -> dict[str, Any]:
    """Cut the power over and over; returns what came of it, none of which is wrong."""
    apart = ["unshare", "--mount", "--propagation", "private"]
    cut = [sys.executable, "-m", "tests.crash.hydration", *map(str, (directory, cuts, every, seed)), server.url]
    done = subprocess.run([*apart, *cut], env=environment(), cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["wrong"] == []
    return found


@pytest.mark.root
def test_a_file_whose_hydration_is_cut_off_is_a_link_or_whole(
    mounted: Callable[..., Mounted], server: BlockServer, tmp_path: Path
) -> None:
    """A few power cuts; the campaign below makes them at every flush."""
    _record(mounted, server, tmp_path, seed=1)
    found = _cut(tmp_path, server, 12, 6, seed=1)
    assert found["link"] + found["file"] == 6 * found["cuts"]


@pytest.mark.campaign
@pytest.mark.root
@pytest.mark.timeout(36_000)
def test_power_is_cut_at_every_flush_of_hydration(
    mounted: Callable[..., Mounted], server: BlockServer, tmp_path: Path
) -> None:
    """IPFSFS_CUTS says how often at most: half of them at flushes, of which there are fewer, and as many in between."""
    _record(mounted, server, tmp_path, seed=random.randrange(1 << 30))
    _cut(tmp_path, server, CUTS, 10, seed=random.randrange(1 << 30))
