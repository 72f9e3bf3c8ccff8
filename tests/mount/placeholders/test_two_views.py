"""Two views, each with its own store, over one plain directory, as two machines over one NFS: links that one makes or
hydrates are right in the other."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.block_server import BlockServer, block_server
from tests.support.elsewhere import eventually_resident, plain_link
from tests.support.mounted import Mounted
from tests.support.processes import eventually

pytestmark = pytest.mark.root

CONTENT = os.urandom(2_500_000)


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """A bind mount of the directory `one`, as another machine's mount of it would be; it outlasts the views."""
    one, at = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    at.mkdir()
    subprocess.run(["mount", "--bind", one, at], check=True)
    yield at
    eventually(lambda: not subprocess.run(["umount", at], check=False).returncode, "nothing uses it")


@pytest.fixture
def two(
    tmp_path: Path, server: BlockServer, other: Path, mounted: Callable[..., Mounted]
) -> Iterator[tuple[Mounted, Mounted]]:
    """Two views of one directory."""
    options = "--gateway", server.url, "--patience", "10", "--force"
    first = mounted(tmp_path / "one", *options, "--store", str(tmp_path / "store-one"))
    second = mounted(other, *options, "--store", str(tmp_path / "store-other"))
    yield first, second
    for view in (second, first):
        view.umount("--lazy")


def _shows(path: Path, size: int) -> bool:
    with suppress(OSError):
        return path.lstat().st_size == size
    return False


def test_what_one_makes_or_hydrates_is_right_in_the_other(two: tuple[Mounted, Mounted], server: BlockServer) -> None:
    first, second = two
    text = server.add(CONTENT)
    os.symlink(text, first.path / "file")
    eventually(lambda: _shows(second.path / "file", len(CONTENT)), "the other shows the file", 3)
    fd = os.open(second.path / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 100, 2_000_000) == CONTENT[2_000_000:2_000_100]
        assert (first.path / "file").read_bytes() == CONTENT
        eventually_resident(first, first.path / "file")
        assert os.pread(fd, len(CONTENT), 0) == CONTENT, "a handle of the other goes on"
    finally:
        os.close(fd)
    assert (second.path / "file").read_bytes() == CONTENT
    assert plain_link(second, second.path / "file") is None
    (first.path / "file").chmod(0o600)
    with (second.path / "file").open("r+b") as file:
        file.write(b"changed")
    assert (first.path / "file").read_bytes() == b"changed" + CONTENT[7:]


def test_both_hydrate_the_same_at_once(two: tuple[Mounted, Mounted], server: BlockServer) -> None:
    """One of them is quicker; the other finds a file in the place of its link, and leaves it."""
    first, second = two
    contents = {f"file{n}": CONTENT[n:] for n in range(8)}
    for name, data in contents.items():
        os.symlink(server.add(data), first.path / name)
    got: dict[tuple[int, str], bytes] = {}

    def read(number: int) -> None:
        for name in contents:
            got[number, name] = (two[number].path / name).read_bytes()

    eventually(lambda: all(_shows(second.path / name, len(data)) for name, data in contents.items()), "shown", 3)
    readers = [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    for number in (0, 1):
        assert {name: got[number, name] for name in contents} == contents
    for name, data in contents.items():
        eventually_resident(first, first.path / name)
        assert (second.path / name).read_bytes() == data
    assert sorted(os.listdir(first.path)) == sorted(os.listdir(second.path)) == sorted(contents)


def test_what_the_other_replaces_is_not_overwritten(two: tuple[Mounted, Mounted], server: BlockServer) -> None:
    """One reads a placeholder while the other puts its own file there."""
    first, second = two
    text = server.add(CONTENT)
    for number in range(5):
        path = f"file{number}"
        os.symlink(text, first.path / path)
        with (first.path / path).open("rb") as file:
            assert file.read(10) == CONTENT[:10]
            if number % 2:  # the handle was opened before it was a file, and reads on after that
                eventually_resident(first, first.path / path)
            (second.path / "mine").write_bytes(b"mine")
            os.replace(second.path / "mine", second.path / path)
            assert file.read() == CONTENT[10:]
        eventually(lambda path=path: (first.path / path).read_bytes() == b"mine", "it is the other's", 3)  # type: ignore[misc]
        assert (second.path / path).read_bytes() == b"mine"
