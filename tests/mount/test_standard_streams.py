"""Commands whose standard streams are closed, full, or a terminal from which somebody interrupts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from tests.support.mounted import clear, environment, ipfsfs
from tests.support.processes import eventually, stopped

COMMAND: Final = [sys.executable, "-m", "ipfsfs"]


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&- 2>&-", ">&-", "<&- 2>&-"])
def test_a_view_that_is_mounted_with_streams_closed_seals_and_checks(closed: str, tmp_path: Path) -> None:
    """As some supervisors start programs: what is opened next would get the numbers of the streams."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "file").write_bytes(b"content")
    try:
        command: list[str | Path] = ["bash", "-c", f'exec "$@" {closed}', "bash", *COMMAND, "mount", cache]
        done = subprocess.run(command, env=environment(), cwd="/", timeout=60, check=False)
        assert done.returncode == 0
        ipfsfs("seal", cache)
        assert ipfsfs("cid", cache / "file").stdout
    finally:
        clear(cache)


@pytest.mark.parametrize("words", [["--help"], ["mount", "--help"], ["status", "--json"], ["doctor"]])
def test_output_that_cannot_be_written_is_said_in_a_line(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *words], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.stderr == "ipfsfs: what is printed cannot be written: No space left on device\n"
    assert done.returncode == 1


def test_who_interrupts_mount_is_told_so_in_a_line_and_nothing_is_mounted(tmp_path: Path) -> None:
    """From a terminal, which interrupts all that runs in it, while the daemon that was started is about to mount."""
    cache = tmp_path / "cache"
    cache.mkdir()
    command: list[str | Path] = [*COMMAND, "mount", cache]
    mounting = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        children = Path(f"/proc/{mounting.pid}/task/{mounting.pid}/children")
        eventually(partial(Path.read_text, children), "a daemon is started")
        (daemon,) = map(int, children.read_text().split())
        with stopped([daemon]):
            os.killpg(mounting.pid, signal.SIGINT)
        _, said = mounting.communicate()
        assert (mounting.returncode, said) == (1, "ipfsfs: interrupted\n")
        eventually(lambda: not Path(f"/proc/{daemon}").exists(), "the daemon has ended")
        eventually(lambda: mounts.view_at(cache) is None, "nothing is mounted")
    finally:
        clear(cache)
