"""What a command answers: soon, in one form for scripts, and with an exit code that says whether all is well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.mounted import Mounted, environment

BUT_WHERE_NEEDED = {"trio", "h11", "rich", "ipfsfs.store.recovery", "ipfsfs.origins.registry", "ipfsfs.cli.doctor"}
"""What takes long to load: an event loop, origins, bars, the databases, other commands."""


@pytest.mark.parametrize("words", [("status",), ("status", "PATH"), ("why", "PATH/file"), ("ls", "--view", "PATH"),
                                   ("ls", "PATH"), ("umount", "--lazy", "PATH")])  # fmt: skip
def test_who_asks_a_daemon_loads_nothing_that_is_not_needed_for_that(
    mounted: Callable[..., Mounted], words: tuple[str, ...]
) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    named = [word.replace("PATH", str(mount.path)) for word in words]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ipfsfs", *named],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "ipfsfs.daemon.mounts" in loaded
    assert not BUT_WHERE_NEEDED & loaded
