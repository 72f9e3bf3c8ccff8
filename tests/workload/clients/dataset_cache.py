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


def arrow_files() -> dict[Path, tuple[int, int]]:
    """Each with what tells it from another in its place: its number alone may be one that was free again."""
    found = Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow")
    return {path: (st.st_ino, st.st_mtime_ns) for path in found for st in [path.stat()]}


def main() -> None:
    repository, how = sys.argv[1], sys.argv[2]
    datasets.disable_progress_bars()
    before = arrow_files()
    mode = datasets.DownloadMode("force_redownload" if how == "force" else "reuse_dataset_if_exists")
    loaded = datasets.load_dataset(repository, split="train", download_mode=mode)
    mapped = loaded.map(add_length, load_from_cache_file=how != "force")
    mapped.shuffle(seed=1, load_from_cache_file=how != "force")
    after = arrow_files()
    written = [path for path, file in after.items() if before.get(path) != file]
    print(json.dumps({"rows": mapped.num_rows, "written": len(written)}))


if __name__ == "__main__":
    main()
