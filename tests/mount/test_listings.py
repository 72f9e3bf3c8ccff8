"""Listings that the kernel keeps: nobody may see an old one, nor half of one and half of another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import plain_directory
from tests.support.mounted import Mounted

pytestmark = pytest.mark.filesystem

SETTLED_S: Final = 0.2
"""A directory that changed less long ago is asked for again at the next look."""
MANY: Final = 3_000
NAME: Final = 66
"""Bytes of each of these names."""
LISTING: Final = """
import contextlib, os, sys

while os.path.isdir(sys.argv[1]):
    with contextlib.suppress(FileNotFoundError):
        os.listdir(sys.argv[1])
"""


def fill(directory: Path) -> set[str]:
    """Many names, more than the kernel asks for or a reader takes at a time."""
    directory.mkdir()
    names = {f"{number:05d}-{'x' * 60}" for number in range(MANY)}
    for name in names:
        (directory / name).touch()
    time.sleep(SETTLED_S)
    return names


def kept(mount: Mounted, directory: Path) -> bool:
    """Whether the kernel lists a directory without having its entries from the daemon."""

    def written() -> int:
        """Bytes that the daemon has written, to the kernel and to its index."""
        facts = Path(f"/proc/{mount.pid}/io").read_text().split()
        return int(facts[facts.index("wchar:") + 1])

    before = written()
    os.listdir(directory)
    return written() - before < MANY * NAME


def test_h22_a_listing_is_kept_and_never_an_old_one(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    """Not even where the time of modification was set back."""
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        below = f"/proc/self/fd/{beneath}/folder"
        names = fill(mount.path / "folder")
        assert set(os.listdir(mount.path / "folder")) == names
        before = os.stat(below)
        Path(below, "added beneath").touch()
        os.utime(below, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert set(os.listdir(mount.path / "folder")) == names | {"added beneath"}
        os.rename(f"{below}/added beneath", f"{below}/renamed beneath")
        assert set(os.listdir(mount.path / "folder")) == names | {"renamed beneath"}
        (mount.path / "folder" / "renamed beneath").unlink()
        assert set(os.listdir(mount.path / "folder")) == names
        time.sleep(SETTLED_S)
        assert set(os.listdir(mount.path / "folder")) == names
        os.unlink(f"{below}/{min(names)}")
        names.remove(min(names))
        assert set(os.listdir(mount.path / "folder")) == names
        time.sleep(SETTLED_S)
        assert set(os.listdir(mount.path / "folder")) == names
        before = os.stat(below)
        Path(below, "added at last").touch()
        os.utime(below, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert set(os.listdir(mount.path / "folder")) == names | {"added at last"}


def test_h22_what_is_made_after_a_directory_was_opened_is_in_the_listing_of_all(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    """On plain Btrfs, who had it open does not see it; everybody else does."""
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        directory = mount.path / "folder"
        directory.mkdir()
        (directory / "old").touch()
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        (directory / "new").touch()
        time.sleep(SETTLED_S)
        assert set(os.listdir(opened)) == {"old", "new"}
        assert set(os.listdir(directory)) == {"old", "new"}
        os.close(os.open(f"/proc/self/fd/{beneath}/folder/beneath", os.O_CREAT | os.O_WRONLY))
        time.sleep(SETTLED_S)
        assert set(os.listdir(opened)) >= {"old", "new"}
        os.close(opened)
        assert set(os.listdir(directory)) == {"old", "new", "beneath"}
        subprocess.run(["rm", "-r", directory], check=True)


def test_a_directory_that_did_not_change_is_listed_without_the_daemon(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    directory = mount.path / "folder"
    fill(directory)
    mount.seal()  # which would be written to the index meanwhile
    os.listdir(directory)
    assert kept(mount, directory)
    (directory / "another").touch()
    time.sleep(SETTLED_S)
    assert not kept(mount, directory)
    assert kept(mount, directory)


@pytest.mark.parametrize("known", [False, True])
def test_readers_that_meet_changes_and_each_other_miss_nothing_and_see_nothing_twice(
    mounted: Callable[..., Mounted], known: bool
) -> None:
    mount = mounted()
    directory = mount.path / "folder"
    names = fill(directory)
    gone = {name for name in names if int(name[:5]) % 7}
    if known:
        os.listdir(directory)
    with os.scandir(directory) as first, os.scandir(directory) as second:
        seen = [Counter(entry.name for entry in islice(first, MANY // 3))]
        seen.append(Counter(entry.name for entry in islice(second, MANY // 2)))
        for name in gone:
            (directory / name).unlink()
        for _ in range(2):
            assert set(os.listdir(directory)) == names - gone
            time.sleep(SETTLED_S)
        assert set(os.listdir(directory)) == names - gone, "which the kernel keeps now, if it may"
        seen[0].update(entry.name for entry in first)
        seen[1].update(entry.name for entry in second)
    for found in seen:
        assert max(found.values()) == 1
        assert names - gone <= found.keys() <= names


@pytest.mark.root
def test_a_reader_goes_on_where_it_was_when_the_kernel_has_dropped_its_listing(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    directory = mount.path / "folder"
    names = fill(directory)
    os.listdir(directory)
    with os.scandir(directory) as reading:
        seen = Counter(entry.name for entry in islice(reading, MANY // 2))
        gone = set(islice(seen, 100))
        for name in gone:
            (directory / name).unlink()
        Path("/proc/sys/vm/drop_caches").write_text("1")
        seen.update(entry.name for entry in reading)
    assert max(seen.values()) == 1
    assert seen.keys() == names
    assert set(os.listdir(directory)) == names - gone


def test_a_large_directory_can_be_removed_while_others_list_it(mounted: Callable[..., Mounted]) -> None:
    """As `rm -r` does: it reads on after it has removed what it read."""
    mount = mounted()
    directory = mount.path / "folder"
    fill(directory)
    os.listdir(directory)
    with subprocess.Popen([sys.executable, "-c", LISTING, directory]) as other:
        subprocess.run(["rm", "-r", directory], check=True)
        assert other.wait(10) == 0
    assert not directory.exists()
