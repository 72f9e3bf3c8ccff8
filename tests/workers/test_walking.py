"""A walk finds each regular file once, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from ipfsfs.plain import tree
from ipfsfs.plain.tree import Found
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Sealed
from tests.support.filesystems import mounted_tmpfs
from tests.support.sealers import rest, with_sealer


async def _walk(sealer: Sealer, prefix: bytes = b"") -> list[Found]:
    async with sealer.walk(prefix) as walk:
        return [found async for batch in walk for found in batch]


def _tree(root: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "empty").mkdir()
    for name in ("top", "a/one", "a/b/two", "a/b/c/three", "a/ü \n", "a/.hidden"):
        (root / name).write_text(name)
    (root / os.fsdecode(b"a/\xff")).touch()
    (root / "a" / "hard").hardlink_to(root / "top")
    (root / "a" / "link").symlink_to("one")
    (root / "loop").symlink_to("a")
    os.mkfifo(root / "a" / "fifo")


def test_all_regular_files_and_only_those(tmp_path: Path) -> None:
    _tree(tmp_path)
    found = with_sealer(tmp_path, _walk)
    expected = {
        os.fsencode(os.path.relpath(os.path.join(above, name), tmp_path)): os.lstat(os.path.join(above, name))
        for above, _, names in os.walk(tmp_path)
        for name in names
        if os.path.isfile(os.path.join(above, name)) and not os.path.islink(os.path.join(above, name))
    }
    assert {item.path for item in found} == expected.keys()
    assert len(found) == len(expected) == 8
    for item in found:
        st = expected[item.path]
        assert (item.ino, item.size, item.identity.mtime_ns, item.identity.ctime_ns) == (
            st.st_ino,
            st.st_size,
            st.st_mtime_ns,
            st.st_ctime_ns,
        )
        assert item.identity.born_ns <= item.identity.ctime_ns


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        (b"a/b", {b"a/b/two", b"a/b/c/three"}),
        (b"a/b/", {b"a/b/two", b"a/b/c/three"}),
        (b"top", {b"top"}),
        (b"a/b/two", {b"a/b/two"}),
        (b"a/link", set()),
        (b"loop", set()),
        (b"empty", set()),
        (b"missing", set()),
        (b"top/below", set()),
        (b"../", set()),
    ],
)
def test_below_a_prefix(tmp_path: Path, prefix: bytes, names: set[bytes]) -> None:
    _tree(tmp_path)
    assert {found.path for found in with_sealer(tmp_path, lambda sealer: _walk(sealer, prefix))} == names


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)

    async def use(sealer: Sealer) -> list[int]:
        async with sealer.walk() as walk:
            assert [found.path async for batch in walk for found in batch] == [b"file"]
            return [unreadable.errno for unreadable in walk.unreadable]

    assert with_sealer(tmp_path, use) == [errno.ENAMETOOLONG]


@pytest.mark.root
def test_other_filesystems_are_not_entered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with mounted_tmpfs(tmp_path, "size=1m") as other:
        (other / "file").touch()
        assert [found.path for found in with_sealer(tmp_path, _walk)] == [b"file"]


def test_batches_are_bounded_and_wait_for_whoever_takes_them(tmp_path: Path) -> None:
    for number in range(5_000):
        (tmp_path / f"{number:04}").touch()

    async def use(sealer: Sealer) -> list[int]:
        sizes = []
        async with sealer.walk() as walk:
            async for batch in walk:
                sizes.append(len(batch))
                if len(sizes) == 1:
                    await trio.sleep(0.3)
                    for number in range(5_000):
                        (tmp_path / f"{number:04}").unlink()
        return sizes

    sizes = with_sealer(tmp_path, use)
    assert max(sizes) <= tree.BATCH
    assert sum(sizes) < 4_000, "it ran ahead"


def test_a_walk_that_is_given_up_leaves_the_sealer_free(tmp_path: Path) -> None:
    for number in range(3_000):
        (tmp_path / f"{number:04}").touch()
    rest()

    async def use(sealer: Sealer) -> object:
        async with sealer.walk() as walk:
            async for _ in walk:
                break
        found = await _walk(sealer)
        assert len(found) == 3_000
        return await sealer.seal(b"0001")

    assert isinstance(with_sealer(tmp_path, use), Sealed)


def test_very_long_paths_fit(tmp_path: Path) -> None:
    above = tmp_path
    for _ in range(14):
        above = above / ("\udcff" * 250)
    above.mkdir(parents=True)
    for number in range(300):
        (above / f"{number}").touch()
    assert len(with_sealer(tmp_path, _walk)) == 300
