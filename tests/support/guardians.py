"""Guardians that wait for fractions of a second where real ones wait for minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ipfsfs.daemon import mounts
from ipfsfs.daemon.config import Config
from tests.support.mounted import Mounted, environment

_IMPATIENT: Final = """
from ipfsfs.daemon import guardian, restarts
guardian.BEAT_S, guardian.PATIENCE_S, restarts.FIRST_S = 0.2, 1.0, 0.001
guardian.main()
"""


@contextmanager
def impatient_guardian(mount: Mounted, *, restarts: tuple[int, ...] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A guardian beside that of the view's daemon; with `restarts` as after `mount --restart`. What it logs is on its
    stderr."""
    view = mounts.view_at(mount.path)
    assert view is not None
    config = Config(mount.path, mount.store, restarts=restarts)
    store = os.open(mount.store, os.O_RDONLY)
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-c", _IMPATIENT, str(mount.pid), config.to_json(), str(store)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[store],
            env=environment(),
            text=True,
        )
    finally:
        os.close(store)
    with guardian:
        assert guardian.stdin is not None
        guardian.stdin.write(f"mounted {view.mount_id} {view.device}\n")
        guardian.stdin.flush()
        try:
            yield guardian
        finally:
            guardian.kill()
