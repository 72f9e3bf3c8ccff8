"""The sealing processes are killed or stop: files are served and written as ever, and seals come later."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.errors import IpfsfsError
from tests.support.mounted import Mounted
from tests.support.processes import eventually, sealers_of, stopped

FILES = 60


def content(number: int) -> bytes:
    return random.Random(number).randbytes(150_000)


def sealed(mount: Mounted) -> int:
    return int(ask(mount.store, {"command": "status"})["sealed"])


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
    mount.expect_logged += ["the sealer was ended by SIGKILL", "the first look at what there is begins again"]
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
    assert ask(mount.store, {"command": "status"})["sealer"] == "ready"
    assert ask(mount.store, {"command": "verify", "paths": [""]})["wrong"] == []
    assert all(os.getxattr(mount.path / "renamed" / f"{number}", "ipfs.cid") for number in range(1, FILES))


def test_a_command_that_waits_for_a_sealer_that_dies_is_told_so(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged += ["the sealer was ended by SIGKILL"]
    with (mount.path / "large").open("wb") as file:
        file.truncate(2 << 30)

    def kill_when_reading() -> None:
        eventually(lambda: ask(mount.store, {"command": "status"})["sealing"] == "large", "it is being read", 60)
        killed = kill_sealers(mount)
        # Until the daemon has noticed all of it, a new command may be given to one that is dead.
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in killed), "the daemon has noticed")

    def ask_meanwhile(question: dict[str, Any]) -> dict[str, Any]:
        killing = Thread(target=kill_when_reading)
        killing.start()
        try:
            return ask(mount.store, question)
        finally:
            killing.join()

    # The file may be read on nobody's behalf, too, and the process that dies be that of this reading.
    assert ask_meanwhile({"command": "seal", "path": ""})["failed"] in (0, 1)
    eventually(lambda: sealed(mount) == 1, "it is sealed by itself then", 60)
    with pytest.raises(IpfsfsError, match="the sealer was ended by SIGKILL"):
        ask_meanwhile({"command": "verify", "paths": [""]})
    assert ask(mount.store, {"command": "verify", "paths": [""]})["wrong"] == []
    (mount.path / "large").unlink()


def test_stopped_it_keeps_nobody_waiting_and_unmounting_ends_it(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "first").write_bytes(content(0))
    ask(mount.store, {"command": "seal", "path": ""})
    with stopped(sealers_of(mount.pid)):
        for number in range(FILES):
            (mount.path / f"{number}").write_bytes(content(number))
        for number in range(FILES):
            assert (mount.path / f"{number}").read_bytes() == content(number)
            (mount.path / f"{number}").rename(mount.path / f"renamed{number}")
        time.sleep(0.6)  # what was written is due now
        assert ask(mount.store, {"command": "status"}, patience_s=10)["degraded"] == ""
        began = time.monotonic()
        mount.umount()
        assert time.monotonic() - began < 10
    mount.mount()
    eventually(lambda: sealed(mount) == FILES + 1, "everything is sealed in the end", 60)
