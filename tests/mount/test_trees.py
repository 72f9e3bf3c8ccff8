"""CIDs of directories by their attribute: who may ask for one, and what it costs everybody else."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import refuses
from tests.support.mounted import Mounted
from tests.support.users import User

pytestmark = pytest.mark.filesystem

CONTENT: Final = b"content" * 1000
OTHER: Final = User(4_001)
MANY: Final = 8_000
"""More than one node of a directory holds."""


@pytest.mark.root
def test_h34_a_cid_says_nothing_of_files_that_who_asks_may_not_read(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    """That of a directory could be tried out for each content that a file in it may have."""
    (open_to_all / "view").mkdir()
    mount = mounted(open_to_all / "view", "--allow-other")
    shared = mount.path / "shared"
    (shared / "private").mkdir(parents=True)
    (shared / "private" / "pin").write_text("4711")
    (shared / "open").write_text("for all")
    (shared / "closed").write_text("for its owner")
    (shared / "private").chmod(0o700)
    (shared / "closed").chmod(0o600)
    mount.seal()
    ask = "for name in {names}: do(lambda: os.getxattr(name, 'ipfs.cid').startswith(b'baf'))"
    names = (".", "shared", "shared/private", "shared/private/pin", "shared/closed", "shared/open")
    assert OTHER.run(ask.format(names=names), mount.path) == ["EACCES"] * 5 + [True]
    assert all(os.getxattr(mount.path / name, "ipfs.cid") for name in names)


def test_h06_naming_a_large_directory_stops_nobody(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    directory = tmp_path / "cache" / "directory"
    directory.mkdir(parents=True)
    for number in range(MANY):
        (directory / f"{number:06}.txt").write_bytes(b"%d" % number)
    mount = mounted(tmp_path / "cache")
    mount.seal()

    def name() -> float:
        began = time.perf_counter()
        assert os.getxattr(mount.path / "directory", "ipfs.cid")
        return time.perf_counter() - began

    answered = []
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(name)
        while not asked.done():
            began = time.perf_counter()
            os.statvfs(mount.path)
            answered.append(time.perf_counter() - began)
        took = asked.result()
    assert max(answered) < took / 4, f"{took:.3f} s for the CID, and {max(answered):.3f} s for a call of another"
    assert len(answered) > 20


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def deep_tree(top: Path, levels: int, name: str) -> Iterator[int]:
    """Directories in each other below `top`, removed again at the end; yields a descriptor of the deepest one."""
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    try:
        yield at
    finally:
        os.close(at)
        subprocess.run(["rm", "-r", top / name], check=True)


def test_a_deep_tree_gets_its_cid_with_few_descriptors(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    with deep_tree(mount.path, 600, "d") as at:
        with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
            file.write(CONTENT)
        mount.seal()
        before = descriptors_of(mount.pid)
        most = before
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(os.getxattr, mount.path, "ipfs.cid")
            while not asked.done():
                most = max(most, descriptors_of(mount.pid))
        assert most - before < 10
        told = asked.result().decode()
        assert told == mount.run("cid", mount.path).stdout.strip()
        assert told == mount.run("cid", "--chunker", "fixed", mount.path).stdout.strip(), "as does one that is hashed"


def test_a_tree_that_is_deeper_than_a_path_is_long_gets_no_cid_and_says_so(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    with deep_tree(mount.path, 30, "d" * 200):
        refuses(errno.ENAMETOOLONG, lambda: os.getxattr(mount.path, "ipfs.cid"))
        done = mount.run("cid", mount.path, check=False)
    assert done.returncode != 0
    assert "File name too long" in done.stderr
