"""Files that settings name. Each that holds a secret is looked at, be it used or not. Who else can read it is said, and
not refused, for a container's secrets are readable to all in it. A list of peers may be made later."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ipfsfs.cli.settings.effective import Effective, Found
from ipfsfs.cli.settings.kinds import SecretFile
from ipfsfs.cli.settings.table import SETTINGS
from ipfsfs.errors import UsageError
from ipfsfs.printed import shell


def looked_at(chosen: Effective) -> Iterator[str]:
    """For each secret that others than its owner can read, a sentence with what to do. Raises UsageError for what
    cannot hold a secret or a list, or cannot be read."""
    peers = chosen.found["peers"]
    if isinstance(peers.value, str) and peers.value.startswith("/") and os.path.isdir(peers.value):
        hint = "Name a file with one HOST:PORT a line."
        raise UsageError(f"{peers.where}: {peers.value} is a directory", hint=hint)
    for name, found in chosen.found.items():
        if not isinstance(SETTINGS[name].kind, SecretFile) or not isinstance(found.value, Path):
            continue
        mode = _mode(found, found.value)
        if mode & 0o077:
            what = f"{SETTINGS[name].flag} {found.value}"
            yield f"{what}: other users can read this secret. To end that: chmod 600 {shell(found.value)}"


def _mode(found: Found, path: Path) -> int:
    """The permissions of a file; none where the configuration file names one that is out of reach, for that can be for
    other users' views: it is left to who reads it."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISDIR(mode) and not os.access(path, os.R_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        if found.source == "file":
            return 0
        raise UsageError(f"{found.where}: {path} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise UsageError(f"{found.where}: {path} is a directory", hint="Name the file that holds the secret.")
    return mode
