"""Files that settings name and that hold secrets: who else can read them is said, and not refused, for a container's
secrets are readable to all in it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from ipfsfs.cli.settings.kinds import SecretFile
from ipfsfs.cli.settings.table import SETTINGS, Settings
from ipfsfs.printed import shell


def open_to_others(settings: Settings) -> Iterator[str]:
    """For each file that others than its owner can read, a sentence with what to do. One that cannot be looked at is
    left to who reads it."""
    for name, value in dataclasses.asdict(settings).items():
        if not isinstance(SETTINGS[name].kind, SecretFile) or not isinstance(value, Path):
            continue
        try:
            mode = os.stat(value).st_mode
        except OSError:
            continue
        if mode & 0o077:
            what = f"{SETTINGS[name].flag} {value}"
            yield f"{what}: other users can read this secret. To end that: chmod 600 {shell(value)}"
