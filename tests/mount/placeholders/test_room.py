"""Room: down to a size and within one, the longest unused first; where nothing can go, that is said."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.evict import Answer, Question
from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_image
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import wait_until_unused

pytestmark = pytest.mark.kubo

LEAF = 1 << 20
PARTS = [os.urandom(2 * LEAF) for _ in range(4)]


def repository(number: int) -> dict[str, bytes | str]:
    """A model of two large files."""
    parts = PARTS[2 * number : 2 * number + 2]
    return {f"models--o--n{number}/blobs/{hashlib.sha256(part).hexdigest()}": part for part in parts}


def blobs(at: Path, number: int) -> list[Path]:
    """Its blobs."""
    return sorted((at / f"models--o--n{number}" / "blobs").iterdir())


def are_here(view: Mounted, paths: list[Path]) -> list[bool]:
    """Which of them are ordinary files."""
    return [plain_link(view, path) is None for path in paths]


def down_to(view: Mounted, size: int, *, dry_run: bool = False) -> Answer:
    """What the daemon says."""
    return ask(view.store, Question((), size, dry_run))


def test_the_longest_unused_repository_goes_first_and_wholly(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({**repository(0), **repository(1)})
    (at / "mine").write_bytes(PARTS[0])
    for number in (0, 1, 0):  # the second one is the one that was not used last
        for path in blobs(at, number):
            assert path.read_bytes() in PARTS
            eventually_resident(view, path)
    view.seal()
    assert down_to(view, 7 * LEAF, dry_run=True).files == 2
    view.remount()  # what was used when is known to the next daemon
    said = down_to(view, 7 * LEAF)
    assert (said.files, said.size) == (2, 4 * LEAF)
    assert are_here(view, blobs(at, 0)) == [True, True]
    assert are_here(view, blobs(at, 1)) == [False, False]
    with blobs(at, 0)[0].open("rb"):
        done = ipfsfs("evict", "--to", "1MB", view.path, check=False)
    assert done.returncode == 1
    assert "Evicted 0 files" in done.stdout
    assert "which stays" in done.stderr
    assert are_here(view, blobs(at, 0)) == [True, True]
    assert (at / "mine").read_bytes() == PARTS[0]


def test_a_view_keeps_within_its_cache_size_by_itself(elsewhere: Elsewhere) -> None:
    tree: dict[str, bytes | str] = {f"file{number}": part for number, part in enumerate(PARTS)}
    view, at = elsewhere.attached(tree, "--cache-size", "5MB")
    for number, part in enumerate(PARTS):
        assert (at / f"file{number}").read_bytes() == part
        eventually_resident(view, at / f"file{number}")
    paths = [at / f"file{number}" for number in range(4)]
    deadline = time.monotonic() + 60
    while (here := are_here(view, paths)) != [False, False, True, True]:
        assert time.monotonic() < deadline, here
        time.sleep(0.1)
    assert [path.read_bytes() for path in paths] == PARTS


def test_parts_of_files_that_nothing_reads_go_first(elsewhere: Elsewhere) -> None:
    content = os.urandom(40 * LEAF)
    view, at = elsewhere.attached({"large": content, "file": PARTS[0]})
    assert (at / "file").read_bytes() == PARTS[0]
    eventually_resident(view, at / "file")
    with (at / "large").open("rb") as file:
        assert file.read(10) == content[:10]
        assert down_to(view, 3 * LEAF).extents == 0, "it is being read"
    view.seal()
    assert (said := down_to(view, 3 * LEAF)).extents > 0
    assert said.files == 0
    assert not [path for path in (view.store / "extents").iterdir() if path.is_file() and path.suffix != ".leaves"]
    assert (at / "large").read_bytes() == content


@pytest.mark.root
@pytest.mark.parametrize("where", ["a store elsewhere", "a Btrfs subvolume", "an overlay"])
def test_without_exchange_all_but_eviction_works_and_says_so(
    where: str, elsewhere: Elsewhere, mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    root = elsewhere.publish({"file": PARTS[0]})
    with _place(where, tmp_path) as (cache, store):
        view = mounted(cache, *elsewhere.options, "--store", str(store))
        try:
            ipfsfs("attach", root, cache / "tree")
            assert (cache / "tree" / "file").read_bytes() == PARTS[0]
            eventually_resident(view, cache / "tree" / "file")
            view.seal()
            done = ipfsfs("evict", cache / "tree", check=False)
            assert done.returncode == 1
            assert "nothing can be evicted here" in done.stderr
            assert view.status()["no_eviction"]
            assert (cache / "tree" / "file").read_bytes() == PARTS[0]
        finally:
            view.umount()
        assert (cache / "tree" / "file").read_bytes() == PARTS[0]


@contextmanager
def _place(where: str, directory: Path) -> Iterator[tuple[Path, Path]]:
    """A directory for a cache, and a path for its store, between which no names can be exchanged."""
    if where == "a store elsewhere":
        (directory / "cache").mkdir()
        with mounted_tmpfs(directory, "size=64m") as elsewhere:
            yield directory / "cache", elsewhere / "store"
    elif where == "a Btrfs subvolume":
        image = new_image(directory / "btrfs.img", "btrfs", 256)
        with mounted_image(image, directory / "btrfs") as disk:
            subprocess.run(["btrfs", "-q", "subvolume", "create", disk / "cache"], check=True)
            yield disk / "cache", disk / "store"
    else:
        with mounted_tmpfs(directory, "size=64m") as disk:
            for name in ("lower", "upper", "work", "merged"):
                (disk / name).mkdir()
            layers = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
            subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", disk / "merged"], check=True)
            try:
                (disk / "merged" / "cache").mkdir()
                yield disk / "merged" / "cache", disk / "merged" / "store"
            finally:
                wait_until_unused(disk / "merged")
                subprocess.run(["umount", disk / "merged"], check=True)


def test_umount_lists_what_is_not_here_and_what_brings_it(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({**repository(0), "file": b"small"})
    assert (at / "file").read_bytes() == b"small"
    eventually_resident(view, at / "file")
    said = ipfsfs("umount", view.path).stdout
    assert "  o/n0: 4.2 MB of 4.2 MB missing" in said
    assert f"ipfsfs mount --kubo {elsewhere.node.api}" in said
    assert f"ipfsfs prefetch {view.path}" in said
    assert f"rm -rf {at}/models--o--n0" in said
    options, view.arguments = view.arguments, ("--hub", "none")
    view.mount()
    said = ipfsfs("umount", view.path).stdout
    assert f"4.2 MB missing\nThey come when they are read, after: ipfsfs mount --kubo URL {view.path}\n" in said
    view.arguments = options
    view.mount()
    ipfsfs("prefetch", view.path)
    assert "missing" not in ipfsfs("umount", view.path).stdout
