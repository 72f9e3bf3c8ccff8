"""What the repositories hold that real clients download amid kills: both sides can make it from a repository's name."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from typing import Any

ROWS = 200
SHARDS = {"model-00001-of-00002.safetensors": 2_000_000, "model-00002-of-00002.safetensors": 600_000}
PARQUET = "data/train-00000-of-00001.parquet"


@cache
def tensors(repo_id: str, shard: str) -> dict[str, Any]:
    """The weights of a shard, as numpy arrays."""
    import numpy

    seed = int.from_bytes(hashlib.sha256(f"{repo_id} {shard}".encode()).digest()[:8], "big")
    random = numpy.random.default_rng(seed)
    rows = SHARDS[shard] // 8 // 1024
    return {f"layer.{n}": random.integers(0, 256, (rows, 1024), dtype=numpy.uint8) for n in range(8)}


@cache
def model(repo_id: str) -> dict[str, bytes]:
    """The files of a model: weights in two shards, and small ones beside them, one of them in a folder."""
    from safetensors.numpy import save

    return {
        "README.md": f"---\nlicense: mit\n---\n{repo_id}\n".encode(),
        "config.json": b'{"model_type": "%s"}' % repo_id.encode(),
        "empty.txt": b"",
        "onnx/model.onnx": hashlib.shake_128(repo_id.encode()).digest(70_001),
        **{shard: save(tensors(repo_id, shard), metadata={"format": "pt"}) for shard in SHARDS},
    }


def rows(repo_id: str) -> list[dict[str, Any]]:
    """The rows of a dataset."""
    return [{"text": f"{repo_id}: row {number} " * 20, "number": number} for number in range(ROWS)]


def mapped(row: dict[str, Any], seed: int) -> dict[str, Any]:
    """What `map` adds to a row; another seed is another function for `datasets`, with a cached file of its own."""
    return {"upper": row["text"].upper(), "product": row["number"] * seed}


@cache
def dataset(repo_id: str) -> dict[str, bytes]:
    """The files of a dataset."""
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows(repo_id)), file)
    return {"README.md": b"---\nlicense: mit\n---\n", PARQUET: file.getvalue()}
