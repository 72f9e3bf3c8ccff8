"""Loads a dataset from the Hub and maps it, as a training script does before its first step.

    python -m tests.workload.clients.dataset

Prints fingerprints, how many Arrow files had to be written (0 when the cache answers) and what came out.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets


def add_length(row: dict[str, Any]) -> dict[str, Any]:
    return {"length": len(row["text"]), "upper": row["text"].upper()}


def arrow_files() -> set[Path]:
    return set(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))


def main() -> None:
    datasets.disable_progress_bars()
    before = arrow_files()
    loaded = datasets.load_dataset("tests/rows", split="train")
    mapped = loaded.map(add_length)
    # A dataset opened by its file has the file's time in its fingerprint, and so has everything derived from it.
    opened = datasets.Dataset.from_file(loaded.cache_files[0]["filename"])
    derived = opened.map(add_length)
    digest = hashlib.sha256()
    for row in mapped:
        digest.update(json.dumps(row, sort_keys=True).encode())
    print(
        json.dumps(
            {
                "rows": mapped.num_rows,
                "columns": mapped.column_names,
                "content": digest.hexdigest(),
                "fingerprints": [dataset._fingerprint for dataset in (loaded, mapped, opened, derived)],
                "written": len(arrow_files() - before),
            }
        )
    )


if __name__ == "__main__":
    main()
