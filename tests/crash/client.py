"""A worker of real clients that outlives the daemon: it downloads, loads, maps and deletes until it is ended.

    python -m tests.crash.client MODEL DATASET SEED

Each line is JSON: `["begin", TIME, WHAT]`, then `["done", TIME, FACTS]` or `["failed", TIME, MISSING, REASON]`, where
`MISSING` says whether something was not there, and in between `["wrong", TIME, NAME]` should anything read as something
else than was published, and `["replacing", TIME]` when `datasets` sets out to make all Arrow files of the dataset anew:
it does so when it cannot see them at that moment, as while the daemon dies. Times are those of CLOCK_MONOTONIC, which
all processes share.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from safetensors import safe_open

from tests.crash import repository

# What to do next: most of the time something is there, to be lost.
CHOICES = {"download": 2, "load": 12, "map": 4, "delete": 2, "clear": 1}


def say(word: str, *words: Any) -> None:
    """One line, at once."""
    os.write(1, json.dumps([word, time.monotonic(), *words]).encode() + b"\n")


class Client:
    """What one worker does; each method returns the facts that are acknowledged by it."""

    def __init__(self, model: str, dataset: str) -> None:
        self.model = model
        self.dataset = dataset
        self.snapshot: Path | None = None
        self.derived = False
        self.clearing = False

    def next(self, chance: random.Random) -> str:
        """What to do next: it must be there to be loaded or deleted, as far as this worker knows.

        A dataset that is deleted in part can never be loaded again: `datasets` looks at its `dataset_info.json` alone.
        """
        if self.clearing:
            return "clear"
        (what,) = chance.choices(list(CHOICES), list(CHOICES.values()))
        if what in ("load", "delete") and self.snapshot is None:
            return "download"
        return "map" if what == "clear" and not self.derived else what

    def download(self, seed: int) -> Any:
        self.snapshot = Path(huggingface_hub.snapshot_download(self.model))

    def load(self, seed: int) -> Any:
        """Read everything, the weights by mapping them as loaders do."""
        assert self.snapshot is not None
        for name, data in repository.model(self.model).items():
            if (self.snapshot / name).read_bytes() != data:
                say("wrong", f"{self.model}/{name}")
        for shard in repository.SHARDS:
            expected = repository.tensors(self.model, shard)
            with safe_open(self.snapshot / shard, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118  no mapping, though it has keys
                    if not (weights.get_tensor(name) == expected[name]).all():
                        say("wrong", f"{self.model}/{shard}: {name}")

    def map(self, seed: int) -> Any:
        """Load the dataset and derive another; the Arrow files that hold them."""
        loaded = datasets.load_dataset(self.dataset, split="train")
        derived = loaded.map(repository.mapped, fn_kwargs={"seed": seed})
        expected = [row | repository.mapped(row, seed) for row in repository.rows(self.dataset)]
        if derived.to_list() != expected:
            say("wrong", f"{self.dataset}, mapped with {seed}")
        (arrow,) = loaded.cache_files
        (cached,) = derived.cache_files
        self.derived = True
        return {"loaded": arrow["filename"], "mapped": cached["filename"], "seed": seed}

    def delete(self, seed: int) -> Any:
        self._delete("model", self.model)
        self.snapshot = None

    def clear(self, seed: int) -> Any:
        """Delete the dataset: what was downloaded, and what was made of it."""
        self.clearing = True
        if self._folder("dataset", self.dataset).exists():
            self._delete("dataset", self.dataset)
        made = Path(datasets.config.HF_DATASETS_CACHE) / self.dataset.replace("/", "___")
        if made.exists():
            shutil.rmtree(made)
        self.clearing = self.derived = False

    def _folder(self, kind: str, repo_id: str) -> Path:
        return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"{kind}s--{repo_id.replace('/', '--')}"

    def _delete(self, kind: str, repo_id: str) -> None:
        found = huggingface_hub.scan_cache_dir()
        folder = self._folder(kind, repo_id)
        repos = [repo for repo in found.repos if repo.repo_path == folder]
        if not repos and not any(str(folder) in str(warning) for warning in found.warnings):
            raise FileNotFoundError(errno.ENOENT, f"the scan did not find it: {found.warnings}", repo_id)
        revisions = [revision.commit_hash for repo in repos for revision in repo.revisions]
        if revisions:
            found.delete_revisions(*revisions).execute()
        else:
            # What is left of a cut download or deletion may be nothing to the scan, for good; users remove the folder.
            shutil.rmtree(folder)


class Replacing(logging.Handler):
    """Hears it from `datasets`."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Generating dataset"):
            say("replacing")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised for."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def main() -> None:
    """Work on, whatever fails."""
    model, dataset, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    datasets.disable_progress_bars()
    builder = logging.getLogger("datasets.builder")
    builder.setLevel(logging.INFO)
    builder.addHandler(Replacing())
    chance = random.Random(seed)
    client = Client(model, dataset)
    while True:
        what = client.next(chance)
        say("begin", what)
        try:
            facts = getattr(client, what)(chance.randrange(1 << 30))
        except Exception as error:  # clients wrap what they meet in exceptions of all kinds
            # By the number alone: safetensors calls whatever keeps it from opening a file a FileNotFoundError.
            missing = any(isinstance(cause, OSError) and cause.errno == errno.ENOENT for cause in causes(error))
            say("failed", missing, " <- ".join(f"{type(cause).__name__}: {cause}"[:300] for cause in causes(error)))
            time.sleep(0.01)
        else:
            say("done", facts)


if __name__ == "__main__":
    main()
