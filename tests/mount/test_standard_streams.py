"""Commands whose standard streams are closed, full, or a terminal from which somebody interrupts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from tests.support.mounted import TREE, clear, environment, ipfsfs
from tests.support.processes import eventually

COMMAND: Final = [sys.executable, "-m", "ipfsfs"]
LOADS_FOR_LONG: Final = """
import pathlib, sys, time
if "ipfsfs.daemon" in sys.orig_argv:
    pathlib.Path({!r}).touch()
    time.sleep(120)
"""


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
    """From a terminal, which interrupts all that runs in it, while the daemon that was started loads its modules."""
    cache, loading = tmp_path / "cache", tmp_path / "loading"
    cache.mkdir()
    (tmp_path / "sitecustomize.py").write_text(LOADS_FOR_LONG.format(str(loading)))
    mounting = subprocess.Popen(
        [*COMMAND, "mount", str(cache)],
        env=environment(PYTHONPATH=f"{tmp_path}:{TREE}"),
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        eventually(loading.exists, "a daemon was started")
        (daemon,) = map(int, Path(f"/proc/{mounting.pid}/task/{mounting.pid}/children").read_text().split())
        assert os.getsid(daemon) == daemon, "the terminal interrupts the daemon, which has nobody to say so to"
        os.killpg(mounting.pid, signal.SIGINT)
        _, said = mounting.communicate(timeout=20)
        assert (mounting.returncode, said) == (1, "ipfsfs: interrupted\n")
        eventually(lambda: not Path(f"/proc/{daemon}").exists(), "the daemon has ended", 10)
        assert mounts.view_at(cache) is None
    finally:
        clear(cache)
