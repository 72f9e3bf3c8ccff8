"""Every vector of the specifications, of Kubo's tests and of the JavaScript importer (`data/vectors.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb
from tests.support.vectors import Importer, profile

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


def test_every_vector_is_there() -> None:
    assert (len(_DATA["vectors"]), len(_DATA["official"])) == (62, 24)
