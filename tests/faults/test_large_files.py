"""Files so large that hashing one takes long: no other file waits for it, and it is told that it is in hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import seal, status, why
from tests.support.mounted import Mounted
from tests.support.processes import eventually, sealers_of
from tests.support.sealers import slow

SMALL_WITHIN_S: Final = 15.0
TOO_LARGE: Final = 4 << 40
LARGEST: Final = 690 * 10**9


def _is_sealed(path: Path) -> bool:
    try:
        return bool(os.getxattr(path, "ipfs.cid"))
    except OSError:
        return False


def test_a_small_file_waits_for_no_large_one_and_both_are_told_of(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    slow(mount.path / "large", 48 << 30)
    eventually(lambda: ask(mount.store, status.Question()).sealing == "large", "it is being hashed")
    assert ask(mount.store, status.Question()).unsealed == 1, "what is in hand is still to be done"
    for number in range(20):
        (mount.path / f"small{number}").write_bytes(b"%d" % number)
    eventually(
        lambda: all(_is_sealed(mount.path / f"small{number}") for number in range(20)),
        "they are sealed",
        SMALL_WITHIN_S,
    )
    assert not _is_sealed(mount.path / "large")
    (mount.path / "large").unlink()


def test_large_files_that_were_there_before_keep_small_ones_from_nothing(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    """More of them than are hashed at a time, and the walk meets them first or last, as the directory has it."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for number in range(6):
        slow(cache / f"large{number}", 24 << 30)
    for number in range(20):
        (cache / f"small{number}").write_bytes(b"%d" % number)
    mount = mounted(cache)
    eventually(lambda: ask(mount.store, status.Question()).sealed == 20, "they are sealed", SMALL_WITHIN_S)
    assert ask(mount.store, status.Question()).unsealed == 6
    for number in range(6):
        (mount.path / f"large{number}").unlink()


def test_a_file_too_large_for_any_seal_is_said_to_be_once(mounted: Callable[..., Mounted]) -> None:
    """A sparse one, which any user makes in no time. It is not tried again before it changes."""
    mount = mounted()
    mount.expect_logged += ["huge: it gets no seal as it is: it is too large"]
    with (mount.path / "huge").open("wb") as file:
        file.truncate(TOO_LARGE)
    (mount.path / "small").write_bytes(b"small")
    eventually(lambda: "too large" in mount.log(), "it is said", SMALL_WITHIN_S)
    eventually(lambda: _is_sealed(mount.path / "small"), "the small one is sealed", SMALL_WITHIN_S)
    for _ in range(3):
        with (mount.path / "huge").open("rb") as file:
            file.read(1)
    ask(mount.store, seal.Question())
    assert mount.log().count("too large") == 1
    assert "no seal can hold it" in str(ask(mount.store, why.Question(b"huge")).why)
    assert ask(mount.store, status.Question()).unsealed == 0
    os.truncate(mount.path / "huge", 5)
    eventually(lambda: _is_sealed(mount.path / "huge"), "it is sealed when it is smaller")


def test_holes_are_not_read_and_the_largest_seal_takes_bounded_memory(mounted: Callable[..., Mounted]) -> None:
    """As large as a seal can hold. Read, it would take minutes."""
    mount = mounted()
    with (mount.path / "sparse").open("wb") as file:
        file.truncate(LARGEST)
    most = {"sealer": 0, "daemon": 0}

    def done() -> bool:
        most["sealer"] = max(most["sealer"], *map(_peak_mib, sealers_of(mount.pid)), 0)
        most["daemon"] = _peak_mib(mount.pid)
        return _is_sealed(mount.path / "sparse")

    eventually(done, "it is sealed", 60)
    assert most["sealer"] < 600
    assert most["daemon"] < 600
    with (mount.path / "sparse").open("rb") as reader:
        reader.seek(LARGEST // 2)
        assert reader.read(1000) == bytes(1000)
    (mount.path / "sparse").unlink()


def _peak_mib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM")), 0)
