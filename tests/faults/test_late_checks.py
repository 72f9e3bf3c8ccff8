"""A promise that could not be checked before its name was given is checked later, wherever the file is by then, and
whatever becomes of the daemon meanwhile (H25)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.store.ledger import Ledger
from tests.support.mounted import Mounted
from tests.support.processes import eventually, sealers_of, stopped
from tests.support.promised import NAME, RIGHT, WRONG, blobs, download, is_sealed, quarantined, status
from tests.support.stores import file_in

pytestmark = pytest.mark.filesystem

XET = "ab" + NAME[2:]
"""What the client of the Hub calls a file in its shared store."""


@contextmanager
def hasher_stopped(mount: Mounted) -> Iterator[list[int]]:
    """A view whose hasher does not answer while the block runs: as on a disk that is very slow."""
    directory = blobs(mount)
    download(directory, RIGHT)  # there is a hasher now
    (directory / NAME).unlink()
    sealers = sealers_of(mount.pid)
    with stopped(sealers):
        yield sealers


def end(mount: Mounted, how: str, sealers: list[int]) -> None:
    """Have the daemon end, and its sealers with it."""
    if how == "kill":
        mount.kill()
    else:
        mount.umount()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in sealers), "sealers go with their daemon")


def checks(mount: Mounted) -> int:
    """How many checks the ledger of an unmounted view knows."""
    with file_in(mount.store, "ledger") as file:
        ledger = Ledger.open(file)
        try:
            return len(ledger.checks.all())
        finally:
            ledger.close()


@pytest.mark.parametrize("how", ["umount", "kill"])
@pytest.mark.parametrize("way", ["rename", "link"])
def test_h25_a_check_outlives_the_daemon(mounted: Callable[..., Mounted], how: str, way: str) -> None:
    mount = mounted()
    mount.expect_logged.append("moved to quarantine")
    directory = blobs(mount)
    with hasher_stopped(mount) as sealers:
        if way == "rename":
            download(directory, WRONG)
        else:
            (mount.path / "other").write_bytes(WRONG)
            os.link(mount.path / "other", directory / NAME)
        end(mount, how, sealers)
    assert checks(mount) == 1
    mount.mount()
    eventually(lambda: not (directory / NAME).exists(), "what broke its promise loses the name")
    eventually(lambda: len(quarantined(mount)) == 1, "it is in quarantine")
    if way == "link":
        assert (mount.path / "other").read_bytes() == WRONG
    download(directory, RIGHT)
    mount.umount()
    assert checks(mount) == 0


def test_h25_a_check_that_ends_well_is_forgotten(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    directory = blobs(mount)
    with hasher_stopped(mount) as sealers:
        download(directory, RIGHT)
        end(mount, "kill", sealers)
    assert checks(mount) == 1
    mount.mount()
    eventually(lambda: is_sealed(directory / NAME), "the right file is sealed")
    mount.umount()
    assert checks(mount) == 0
    assert (directory / NAME).read_bytes() == RIGHT


def publish(directory: Path, *, link: bool = True) -> Path:
    """As the client of the Hub does with a new file: move it to the shared store, and leave a link."""
    shared = directory.parents[1] / "blobs" / XET[:2] / XET
    shared.parent.mkdir(parents=True, exist_ok=True)
    (directory / NAME).rename(shared)
    if link:
        temporary = directory / f".{NAME}.1a2b3c4d.shared"
        temporary.symlink_to(os.path.relpath(shared, directory))
        temporary.rename(directory / NAME)
    return shared


@pytest.mark.parametrize("remounted", [False, True])
@pytest.mark.parametrize("link", [True, False])
def test_h25_a_check_follows_the_file_to_the_shared_store(
    mounted: Callable[..., Mounted], remounted: bool, link: bool
) -> None:
    """Also where the client died before it left the link: the next one would find the file, and trust it."""
    mount = mounted()
    mount.expect_logged.append("moved to quarantine")
    directory = blobs(mount)
    with hasher_stopped(mount) as sealers:
        download(directory, WRONG)
        shared = publish(directory, link=link)
        assert shared.read_bytes() == WRONG
        if remounted:
            end(mount, "umount", sealers)
            mount.mount()
    eventually(lambda: not shared.exists(), "the file is taken away")
    eventually(lambda: not os.path.lexists(directory / NAME), "and so is the link to it")
    (kept,) = quarantined(mount)
    assert (mount.store / "quarantine" / kept).read_bytes() == WRONG
    assert status(mount)["quarantine"][0]["note"]["path"].endswith(NAME)
    download(directory, RIGHT)
    assert publish(directory).read_bytes() == RIGHT
    assert (directory / NAME).read_bytes() == RIGHT


def test_h25_what_was_moved_out_of_the_cache_is_left_alone(mounted: Callable[..., Mounted]) -> None:
    """It is promised no more: whoever moved it to a place of their own means to have it."""
    mount = mounted()
    directory = blobs(mount)
    mine = mount.path / "mine"
    with hasher_stopped(mount):
        download(directory, WRONG)
        (directory / NAME).rename(mine)
    eventually(lambda: is_sealed(mine), "it is sealed like any file")
    assert mine.read_bytes() == WRONG
    assert quarantined(mount) == []
