"""Command lines of the real clients, for machines of a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_DOWNLOAD: Final = """
import concurrent.futures, os, sys, time
from huggingface_hub import snapshot_download
began = time.monotonic()
path = snapshot_download(sys.argv[1])
def read(name):
    with open(os.path.join(path, name), "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
with concurrent.futures.ThreadPoolExecutor(4) as readers:
    list(readers.map(read, os.listdir(path)))
print(time.monotonic() - began, path)
"""
_LOAD: Final = """
import sys, time
import transformers
began = time.monotonic()
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
total = sum(float(weights.float().sum()) for weights in model.state_dict().values())
print(time.monotonic() - began, total)
"""


def download(repo_id: str) -> list[str | Path]:
    """`snapshot_download`, and every file read once, as when it is loaded; says how many seconds that took (imports
    apart), and where the snapshot is."""
    return [sys.executable, "-c", _DOWNLOAD, repo_id]


def load(repo_id: str) -> list[str | Path]:
    """`from_pretrained` and every byte read; says how many seconds that took (imports apart), and a sum of all."""
    return [sys.executable, "-c", _LOAD, repo_id]


def took_s(said: str) -> float:
    """How long one of them took."""
    return float(said.splitlines()[-1].split()[0])


def hf(*words: str) -> list[str | Path]:
    """The `hf` command line."""
    return [sys.executable, "-m", "huggingface_hub.cli.hf", *words]
