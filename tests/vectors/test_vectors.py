"""Every vector of the specifications, of Kubo's tests and of the JavaScript importer (`data/vectors.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb
from tests.support.dags import walk_file, walk_tree
from tests.support.importer import import_path
from tests.support.vectors import Folder, Importer, profile, stream, tree

_DATA = json.loads((Path(__file__).parent / "data" / "vectors.json").read_text())
_PROFILES = {name: profile(name, fields) for name, fields in _DATA["profiles"].items()}
_TYPES = {
    "file": dagpb.Type.FILE,
    "directory": dagpb.Type.DIRECTORY,
    "symlink": dagpb.Type.SYMLINK,
    "hamt-sharded-directory": dagpb.Type.HAMT_SHARD,
}


@pytest.mark.parametrize("vector", _DATA["vectors"] + _DATA["official"], ids=lambda vector: vector["id"])
def test_vector(vector: dict[str, Any]) -> None:
    importer = Importer(_PROFILES[vector["profile"]])
    root, tsize = importer.build(vector["input"])
    assert cids.to_text(root) == vector["cid"]
    assert cids.from_text(vector["cid"]) == root
    if "codec" in vector:
        assert cids.codec(root) == {"raw": cids.RAW, "dag-pb": cids.DAG_PB}[vector["codec"]]
        assert tsize == vector["dag_size"]
    if vector.get("root_block_hex"):
        assert importer.root_block.hex() == vector["root_block_hex"]
    if "unique_blocks" in vector:
        # The JavaScript importer writes a single leaf as a raw block first, then again with its metadata.
        left_over = vector["id"] in ("v1-meta-mode0755", "v1-meta-mtime-ns")
        assert len(importer.blocks) + left_over == vector["unique_blocks"]
    if (expected := _TYPES.get(vector.get("unixfs_type", ""))) is not None:
        _, data = dagpb.decode_node(importer.root_block)
        assert data is not None
        assert dagpb.decode_unixfs(data).type is expected
    if vector["input"]["type"] == "directory":
        _check_tree(importer, root, tree(vector["input"]))
    elif vector["input"]["type"] == "file":
        _check_file(importer, root, tsize, vector["input"])


def _check_file(importer: Importer, root: bytes, tsize: int, input_: dict[str, Any]) -> None:
    """That the walk over a file finds its leaves again."""
    size = sum(map(len, stream(input_["bytes"])))
    walk = walk_file(root, size, importer.nodes)
    assert (walk.size, walk.tsize) == (size, tsize)
    leaves = list(walk.leaves())
    assert {leaf.length for leaf in leaves[:-1]} <= {importer.profile.chunk}
    assert sum(leaf.length for leaf in leaves) == size
    found = {leaf.cid for leaf in leaves}
    assert found <= importer.blocks <= found | importer.nodes.keys() | {cids.EMPTY}


def _check_tree(importer: Importer, root: bytes, folder: Folder) -> None:
    """That the walk over a tree finds all of its names, and what they name."""
    expected: dict[bytes, tuple[str, bytes, int | None]] = {}
    folders = [(b"", folder)]
    while folders:
        above, here = folders.pop()
        for name, content in here.items():
            path = above + name.encode()
            if isinstance(content, Folder):
                expected[path] = "directory", b"", None
                folders.append((path + b"/", content))
            elif content["type"] == "symlink":
                expected[path] = "symlink", content["target"].encode(), None
            else:
                expected[path] = "file", b"", sum(map(len, stream(content["bytes"])))
    found = walk_tree(root, importer.nodes)
    assert {path: (entry.kind, entry.target, entry.size) for path, entry in found.items()} == expected
    assert {entry.cid for entry in found.values()} <= importer.blocks


@pytest.mark.parametrize("name", ["v1-1byte", "v1-chunk", "v1-zeros-10chunks"])
def test_a_file_on_disk_is_cut_and_named_as_the_profile_says(tmp_path: Path, name: str) -> None:
    """With `--chunker fixed`: the vectors above say how long a leaf is, here it is the program's own length."""
    (vector,) = [vector for vector in _DATA["vectors"] if vector["id"] == name]
    path = tmp_path / "file"
    path.write_bytes(b"".join(stream(vector["input"]["bytes"])))
    assert import_path(path)[b""] == vector["cid"]


def test_every_vector_is_there() -> None:
    assert (len(_DATA["vectors"]), len(_DATA["official"])) == (62, 24)
