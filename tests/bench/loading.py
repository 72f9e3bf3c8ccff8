"""What a worker does before its first step: load a model, load a dataset, map it."""

from __future__ import annotations

import os
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tests.bench import material
from tests.bench.bench import At
from tests.bench.row import BARE, PLAIN, Aim, Done, Line, Row, Unit

_READ_ROWS: Final = 1000


def ready_transformers() -> None:
    """Import all that loads a model, and no more: the first load of a process is what a worker waits for.

    With one thread, so that no pool is forked.
    """
    import torch

    import_module("transformers.models.auto.modeling_auto")
    import_module("transformers.models.llama.modeling_llama")
    torch.set_num_threads(1)


def ready_datasets() -> None:
    """Import all that loads and maps, which much of is imported when it is first used."""
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "rows.parquet")
        save_parquet(file, _READ_ROWS)
        load_rows(file, directory)
        map_rows(file, directory)


def save_model(directory: str, layers: int) -> None:
    import torch
    from transformers import AutoModel, LlamaConfig

    config = LlamaConfig(
        vocab_size=35_500,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=layers,
        num_attention_heads=16,
        tie_word_embeddings=True,
        dtype="bfloat16",
    )
    with torch.no_grad():
        AutoModel.from_config(config, dtype=torch.bfloat16).save_pretrained(directory)


def load_model() -> Done:
    """from_pretrained, and a touch of every page of every weight."""
    import torch
    from transformers import AutoModel

    began = time.perf_counter()
    with torch.no_grad():
        model = AutoModel.from_pretrained(material.MODEL, local_files_only=True, dtype="auto")
        size = 0
        for weight in model.state_dict().values():
            weight.view(-1)[:: 4096 // weight.element_size()].sum()
            size += weight.nbytes
    return time.perf_counter() - began, size


def save_parquet(file: str, rows: int) -> None:
    import pyarrow
    from pyarrow import parquet

    text = [f"row {number} of a dataset like many others, " * 7 for number in range(rows)]
    parquet.write_table(pyarrow.table({"id": range(rows), "text": text}), file)


def load_rows(file: str, cache: str) -> Done:
    """load_dataset, and the first rows."""
    import datasets

    began = time.perf_counter()
    loaded = datasets.load_dataset("parquet", data_files=file, cache_dir=cache, split="train")
    read = 0
    for row in loaded.select(range(_READ_ROWS)):
        read += len(row["text"])
    return time.perf_counter() - began, _READ_ROWS


def map_rows(file: str, cache: str) -> Done:
    """map, which writes as much Arrow as the dataset has."""
    import datasets

    loaded = datasets.load_dataset("parquet", data_files=file, cache_dir=cache, split="train").with_format("arrow")
    target = os.path.join(cache, "mapped.arrow")
    began = time.perf_counter()
    loaded.map(_same, batched=True, load_from_cache_file=False, cache_file_name=target)
    return time.perf_counter() - began, os.stat(target).st_size


def _same(batch: Any) -> Any:
    return batch


def models(at: At) -> None:
    at.run(load_model, ready=ready_transformers)
    at.timed("load-model", load_model, ready=ready_transformers)


def cached_dataset(at: At) -> None:
    arguments = (str(material.parquet(at.bench)), str(at.root / "datasets"))
    at.run(load_rows, *arguments, ready=ready_datasets)
    at.timed("load-dataset", load_rows, *arguments, ready=ready_datasets)


def mapped_dataset(at: At) -> None:
    at.written_back()
    arguments = (str(material.parquet(at.bench)), str(at.root / "datasets"))
    at.timed("map", map_rows, *arguments, ready=ready_datasets)
    Path(at.root / "datasets" / "mapped.arrow").unlink()


ROWS: Final = (
    Row(
        models,
        (
            Line(
                "load-model",
                "from_pretrained and touch of every page, warm",
                Unit.SECONDS,
                Aim(PLAIN, at_most=1.15),
            ),
        ),
        ("model",),
    ),
    Row(
        cached_dataset,
        (Line("load-dataset", "load_dataset, cached, and 1,000 rows", Unit.SECONDS),),
        ("rows",),
    ),
    Row(mapped_dataset, (Line("map", "map, writing Arrow", Unit.SECONDS, Aim(BARE, at_most=1)),), ("rows",)),
)
