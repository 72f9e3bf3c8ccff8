"""Walks that come after the first one: what is made beneath is found though nobody opens it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from ipfsfs.daemon import mounts
from tests.support.calls import cid_of
from tests.support.mounted import clear, environment, ipfsfs
from tests.support.processes import eventually

OFTEN: Final = """
from ipfsfs.cli.main import main
from ipfsfs.view.upkeep import walking

walking._PERIOD_S = walking._SOONEST_S = 1.0
main()
"""
"""The command, with a walk each second instead of each hour."""


def test_what_is_made_beneath_and_never_opened_is_found_by_a_later_walk(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    plain = os.open(cache, os.O_RDONLY)
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, "-c", OFTEN, "mount", "--foreground", str(cache)]
        daemon = subprocess.Popen(command, env=environment(), stderr=log)
    try:
        eventually(lambda: mounts.view_at(cache) is not None, "mounted")
        for number in range(3):
            fd = os.open(f"made{number}", os.O_WRONLY | os.O_CREAT, dir_fd=plain)
            os.write(fd, b"%d" % number)
            os.close(fd)
            eventually(lambda number=number: _sealed(cache) == number + 1, "it is sealed")  # type: ignore[misc]
        assert all(cid_of(cache / f"made{number}") for number in range(3))
        ipfsfs("umount", cache)
        assert daemon.wait(20) == 0
    finally:
        daemon.kill()
        daemon.wait()
        os.close(plain)
        clear(cache)


def _sealed(cache: Path) -> int:
    return int(json.loads(ipfsfs("status", cache, "--json").stdout)[0]["sealed"])
