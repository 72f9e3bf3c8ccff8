"""Which cache is meant where a user names none."""

from __future__ import annotations

import os
from pathlib import Path


def hub_home() -> Path:
    """Where Hugging Face clients started with this environment keep their cache."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or usual).expanduser().absolute()
