"""Loads a dataset, maps and shuffles it, as several users of one cache do.

    python -m tests.workload.clients.dataset_cache REPOSITORY [reuse|force]

`force` builds everything anew over what is there. Prints how many rows came out, and how many Arrow files were written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets


def add_length(row: dict[str, Any]) -> dict[str, Any]:
    return {"length": len(row["text"])}


def arrow_files() -> dict[Path, int]:
    return {path: path.stat().st_ino for path in Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow")}


def main() -> None:
    repository, how = sys.argv[1], sys.argv[2]
    datasets.disable_progress_bars()
    before = arrow_files()
    mode = datasets.DownloadMode("force_redownload" if how == "force" else "reuse_dataset_if_exists")
    loaded = datasets.load_dataset(repository, split="train", download_mode=mode)
    mapped = loaded.map(add_length, load_from_cache_file=how != "force")
    mapped.shuffle(seed=1, load_from_cache_file=how != "force")
    after = arrow_files()
    written = [path for path, ino in after.items() if before.get(path) != ino]
    print(json.dumps({"rows": mapped.num_rows, "written": len(written)}))


if __name__ == "__main__":
    main()
