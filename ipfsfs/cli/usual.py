"""Which cache is meant where a user names none, and what leads programs to another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MOVED_BY: Final = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ASSETS_CACHE",
    "HF_XET_CACHE",
)
"""The variables by which Hugging Face clients keep a part of their cache elsewhere."""


def cache_home() -> Path:
    """Where this user's programs keep their caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()


def hub_home() -> Path:
    """Where Hugging Face clients started with this environment keep their cache."""
    return Path(os.environ.get("HF_HOME") or cache_home() / "huggingface").expanduser().absolute()


def moved() -> dict[str, Path]:
    """By variable, the directories out of that cache which they use instead."""
    told = {name: Path(os.environ[name]).expanduser() for name in MOVED_BY if os.environ.get(name)}
    home = os.path.normpath(hub_home())
    return {
        name: path
        for name, path in told.items()
        if path.is_absolute() and not Path(os.path.normpath(path)).is_relative_to(home)
    }
