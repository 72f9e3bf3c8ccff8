"""The sealing processes are killed or stop: files are served and written as ever, and seals come later."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status, verify
from tests.support.calls import cid_of
from tests.support.mounted import Mounted
from tests.support.processes import eventually, sealers_of, stopped
from tests.support.sealers import slow

FILES = 60


def content(number: int) -> bytes:
    return random.Random(number).randbytes(150_000)


def sealed(mount: Mounted) -> int:
    return int(ask(mount.store, status.Question()).sealed)


def kill_sealers(mount: Mounted) -> list[int]:
    pids = sealers_of(mount.pid)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def test_killed_over_and_over_amid_everything(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """Amid the first look at what is there, sealing what is written, a directory's new name, a command that waits."""
    directory = tmp_path / "cache"
    directory.mkdir()
    for number in range(FILES):
        (directory / f"before{number}").write_bytes(content(number))
    mount = mounted(directory)
    mount.expect_logged += ["the sealer was ended by SIGKILL", "the walk over everything begins again"]
    (mount.path / "folder").mkdir()
    for number in range(FILES):
        if number % 15 == 0:
            kill_sealers(mount)
        (mount.path / "folder" / f"{number}").write_bytes(content(number))
        assert (mount.path / f"before{number}").read_bytes() == content(number)
    (mount.path / "folder").rename(mount.path / "renamed")
    kill_sealers(mount)
    (mount.path / "renamed" / "0").unlink()
    (mount.path / "renamed" / "1").chmod(0o600)

    eventually(lambda: sealed(mount) == 2 * FILES - 1, "everything is sealed in the end", 60)
    assert ask(mount.store, status.Question()).sealer == "ready"
    assert ask(mount.store, verify.Question()).wrong == ()
    assert all(os.getxattr(mount.path / "renamed" / f"{number}", "ipfs.cid") for number in range(1, FILES))


def kill_once_reading(mount: Mounted) -> None:
    """Wait until a sealer reads, and kill; returns when the daemon has noticed."""
    eventually(lambda: ask(mount.store, status.Question()).sealing, "a file is being read", 60)
    killed = kill_sealers(mount)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in killed), "the daemon has noticed")


@contextmanager
def amid(work: Callable[[], None]) -> Iterator[None]:
    """Do `work` in a thread while the block runs; what fails in it fails the test."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        yield
        done.result()


@pytest.mark.parametrize(
    ("sizes", "done_before"),
    [([2 << 30], 0), ([256 << 20] * 12, 1), ([32 << 20] * 60, 6)],
    ids=["one file", "some of the files are read", "the walk has not found all of them"],
)
def test_a_seal_command_outlasts_a_sealer_that_dies(
    mounted: Callable[..., Mounted], sizes: list[int], done_before: int
) -> None:
    """As when memory runs short: what was lost with it, files and the walk that finds them, is begun again."""
    mount = mounted()
    mount.expect_logged += ["the sealer was ended by SIGKILL"]
    paths = [slow(mount.path / f"large{number}", size) for number, size in enumerate(sizes)]
    killed: list[int] = []

    def kill_amid(at: seal.Progress) -> None:
        if not killed and done_before <= at.files_done < at.files:
            killed.extend(kill_sealers(mount))

    done = ask(mount.store, seal.Question(), kill_amid)
    assert killed
    assert done.failed == 0
    assert done.files_done == done.files <= len(paths), "a file that was begun again is counted once"
    assert all(cid_of(path) for path in paths)
    for path in paths:
        path.unlink()


def test_a_seal_command_fails_when_the_sealer_dies_each_time_and_says_what_to_do(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    mount.expect_logged += ["the sealer was ended by SIGKILL", "the walk over everything begins again"]
    path = slow(mount.path / "large", 2 << 30)
    over = Event()

    def kill_whatever_reads() -> None:
        while not over.wait(0.1):
            if ask(mount.store, status.Question()).sealing:
                kill_sealers(mount)

    with amid(kill_whatever_reads):
        done = mount.run("seal", path, check=False)
        over.set()
    assert done.returncode == 1
    assert "the sealer was" in done.stderr
    assert "run this again" in done.stderr
    assert json.loads(mount.run("seal", path, "--json").stdout)["failed"] == 0
    assert cid_of(path)
    path.unlink()


def test_a_verify_command_whose_sealer_dies_fails_and_says_what_to_do(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged += ["the sealer was ended by SIGKILL"]
    path = slow(mount.path / "large", 2 << 30)
    mount.seal()
    eventually(lambda: not ask(mount.store, status.Question()).sealing, "what was sealed is read no more")
    with amid(lambda: kill_once_reading(mount)):
        done = mount.run("verify", path, check=False)
    assert done.returncode == 1
    assert "the sealer was ended by SIGKILL" in done.stdout + done.stderr
    assert "run this again" in done.stdout + done.stderr
    assert ask(mount.store, verify.Question()).wrong == ()
    path.unlink()


def test_stopped_it_keeps_nobody_waiting_and_unmounting_ends_it(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "first").write_bytes(content(0))
    ask(mount.store, seal.Question())
    with stopped(sealers_of(mount.pid)):
        for number in range(FILES):
            (mount.path / f"{number}").write_bytes(content(number))
        for number in range(FILES):
            assert (mount.path / f"{number}").read_bytes() == content(number)
            (mount.path / f"{number}").rename(mount.path / f"renamed{number}")
        time.sleep(0.6)  # what was written is due now
        assert ask(mount.store, status.Question(), patience_s=10).degraded == ""
        began = time.monotonic()
        mount.umount()
        assert time.monotonic() - began < 10
    mount.mount()
    eventually(lambda: sealed(mount) == FILES + 1, "everything is sealed in the end", 60)
