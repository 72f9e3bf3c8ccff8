"""The CIDs of whole trees, as a real Kubo names them (`ipfs add`, profile unixfs-v1-2025)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ipfsfs.unixfs import chunk, directory
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.profile import V1_2025
from tests.support.importer import import_path
from tests.support.kubo import Kubo

pytestmark = pytest.mark.kubo

_MIB = chunk.LEAF_MAX


@pytest.fixture(scope="module")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Kubo:
    return Kubo(tmp_path_factory.mktemp("kubo") / "repository")


def _assert_same(kubo: Kubo, path: Path) -> None:
    """Ours and Kubo's CIDs are the same for `path` and all below it."""
    ours = import_path(path)
    theirs = kubo.add(path)
    assert len(ours) == len(theirs)
    # Kubo prints some names escaped. They count through the directories that hold them.
    for shown, cid in theirs.items():
        assert ours.get(os.fsencode(shown), cid) == cid, shown
    assert ours[b""] == theirs[""]


@pytest.mark.parametrize(
    "size", [0, 1, 2, 255, 262_143, 262_145, _MIB - 1, _MIB, _MIB + 1, 2 * _MIB - 1, 2 * _MIB, 2 * _MIB + 1, 5 * _MIB]
)
def test_file_of_size(kubo: Kubo, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    _assert_same(kubo, path)


@pytest.mark.parametrize("size", [1024 * _MIB, 1024 * _MIB + 1])
def test_file_around_the_width_of_a_node(kubo: Kubo, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(size)
        for place in (0, 1023 * _MIB, size - 3):  # holes between: the disk need not hold gibibytes
            stream.seek(place)
            stream.write(b"abc")
    _assert_same(kubo, path)


@pytest.mark.parametrize("above", [-1, 0, 1, 2])
def test_directory_around_the_threshold_of_the_hamt(kubo: Kubo, tmp_path: Path, above: int) -> None:
    root = tmp_path / "many"
    root.mkdir()
    # An empty file takes 44 bytes and its name of the block, the directory itself 4.
    names = [f"{i:020}" for i in range(4_094)] + ["a" * 18, "b" * (18 + above)]
    assert 4 + sum(44 + len(name) for name in names) == V1_2025.shard_above + above
    for name in names:
        (root / name).write_bytes(b"")
    sharded = len(directory.build([Entry(name.encode(), bytes(36), 0) for name in names]).nodes) > 1
    assert sharded == (above > 0)
    _assert_same(kubo, root)


@pytest.mark.parametrize("count", [4_500, 12_000])
def test_hamt_directory(kubo: Kubo, tmp_path: Path, count: int) -> None:
    root = tmp_path / "many"
    root.mkdir()
    names = random.Random(count)
    for i in range(count):
        (root / f"{i}{_name(names)}").write_bytes(str(i % 7).encode())
    (root / "below").mkdir()
    (root / "below" / "file").write_bytes(b"x")
    (root / "link").symlink_to("below/file")
    _assert_same(kubo, root)


def test_name_that_is_not_utf8(kubo: Kubo, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for name in (b"caf\xe9", b"\xff\xfe", b"new\nline", b"caf\xc3\xa9", b"~"):
        with open(os.fsencode(root) + b"/" + name, "wb") as stream:
            stream.write(name)
    _assert_same(kubo, root)


def test_cache_layout(kubo: Kubo, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / ("0" * 40)
    for path in (blobs, snapshot / "onnx", repository / "refs" / "pr", repository / ".no_exist"):
        path.mkdir(parents=True)
    (blobs / ("a" * 64)).write_bytes(random.Random(1).randbytes(3 * _MIB + 17))
    (snapshot / "onnx" / "model.onnx").symlink_to("../../../blobs/" + "a" * 64)
    (snapshot / "dangling").symlink_to("../../blobs/nothing")
    (repository / "refs" / "pr" / "1").write_text("0" * 40)
    _assert_same(kubo, tmp_path / "hub")


@pytest.mark.parametrize("seed", range(12))
def test_random_tree(kubo: Kubo, tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    root = tmp_path / "tree"
    root.mkdir()
    directories = [root]
    for _ in range(200):
        path = source.choice(directories) / _name(source)
        if os.path.lexists(path):
            continue
        what = source.random()
        if what < 0.2:
            path.mkdir()
            directories.append(path)
        elif what < 0.4:
            path.symlink_to(source.choice(["..", "/nowhere", "a/b", _name(source), "x" * 300]))
        else:
            around = source.choice([_MIB - 1, _MIB, _MIB + 1, 3 * _MIB])
            path.write_bytes(source.randbytes(source.choice([0, 1, 100, 5_000, 70_000] * 2 + [around])))
    _assert_same(kubo, root)


_LETTERS = "abcXYZ019 .-_~+#%é日本🦀ąÅ\u0301\u200d"


def _name(source: random.Random) -> str:
    while True:
        name = "".join(source.choice(_LETTERS) for _ in range(source.choice([1, 2, 5, 12, 60])))
        if name not in (".", ".."):
            return name
