"""Promises under attack: downloads too large to be checked at once, a hasher that does not answer, names got by a
link. What is wrong never stays unnoticed, what is right never goes (H23 to H25)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from threading import Thread
from typing import Final

import pytest

from tests.support.calls import exchange
from tests.support.mounted import Mounted
from tests.support.processes import eventually, sealers_of, stopped
from tests.support.promised import NAME, RIGHT, WRONG, blobs, download, is_sealed, leave_alone, quarantined, status

pytestmark = pytest.mark.filesystem

HUGE: Final = 3 << 30
"""More than can be hashed in the second that a rename may wait."""
WITHIN_S: Final = 1.8
"""A second for the hasher, and what a busy machine adds."""


def test_h25_a_huge_file_gets_its_name_within_a_second_and_loses_it_when_the_promise_is_broken(
    mounted: Callable[..., Mounted],
) -> None:
    """The rename holds the lock of its directory: others must not wait for the hashing. Who has it open keeps it."""
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    directory = blobs(mount)
    (directory / "other").write_bytes(b"x")
    with (directory / "x.incomplete").open("wb") as file:
        file.truncate(HUGE)
    began = time.monotonic()
    (directory / "x.incomplete").rename(directory / NAME)
    assert time.monotonic() - began < WITHIN_S
    held = os.open(directory / NAME, os.O_RDONLY)
    assert (directory / "other").read_bytes() == b"x"

    eventually(lambda: not (directory / NAME).exists(), "the broken promise is withdrawn", 90)
    (kept,) = quarantined(mount)
    assert (mount.store / "quarantine" / kept).stat().st_size == HUGE
    assert os.pread(held, 5, HUGE - 5) == bytes(5)
    os.close(held)
    download(directory, RIGHT)
    assert (directory / NAME).read_bytes() == RIGHT
    (mount.store / "quarantine" / kept).unlink()
    (mount.store / "quarantine" / f"{kept}.json").unlink()


def test_h23_a_download_that_was_withdrawn_is_not_waited_for(mounted: Callable[..., Mounted]) -> None:
    """It has just been written, and so was to be sealed. The daemon would look for it without end."""
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    with pytest.raises(OSError, match="Input/output error"):
        download(blobs(mount), WRONG)
    eventually(lambda: status(mount)["unsealed"] == 0, "nothing waits to be sealed")


def test_h25_a_hasher_that_does_not_answer_delays_nobody(mounted: Callable[..., Mounted]) -> None:
    """Its verdict comes late, and counts for the file that was renamed, not for the one that stands there by then."""
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    directory, replaced = blobs(mount), blobs(mount, "models--org--replaced")
    download(directory, RIGHT)  # there is a hasher now
    (directory / NAME).unlink()
    with stopped(sealers_of(mount.pid)):
        for where in (directory, replaced):
            began = time.monotonic()
            download(where, WRONG)
            assert time.monotonic() - began < WITHIN_S
        replacing = Thread(target=download, args=(replaced, RIGHT))
        replacing.start()
        assert (directory / NAME).stat().st_size == len(WRONG)
        replacing.join(10)
        assert (replaced / NAME).read_bytes() == RIGHT
    eventually(lambda: not (directory / NAME).exists(), "the broken promise is withdrawn")
    eventually(lambda: is_sealed(replaced / NAME), "the right file is sealed")
    assert (replaced / NAME).read_bytes() == RIGHT
    assert len(quarantined(mount)) == 1


def test_the_real_move_of_the_client_fails_cleanly_and_its_retry_works(mounted: Callable[..., Mounted]) -> None:
    """`shutil.move` copies when a rename fails, whatever the reason: there must be nothing left to copy."""
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    directory = blobs(mount)
    (directory / "x.incomplete").write_bytes(WRONG)
    move = "import shutil, sys; shutil.move(sys.argv[1], sys.argv[2])"
    done = subprocess.run(
        ["python3", "-c", move, directory / "x.incomplete", directory / NAME], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert os.listdir(directory) == []
    (directory / "x.incomplete").write_bytes(RIGHT)
    subprocess.run(["python3", "-c", move, directory / "x.incomplete", directory / NAME], check=True)
    assert (directory / NAME).read_bytes() == RIGHT


@pytest.mark.parametrize("way", ["link", "exchange", "exchange-back"])
def test_what_gets_a_promised_name_by_a_link_or_an_exchange_loses_it(mounted: Callable[..., Mounted], way: str) -> None:
    """The other name, by which it may be right, is left alone."""
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    directory = blobs(mount)
    other = mount.path / "other"
    other.write_bytes(WRONG)
    mount.seal()
    if way == "link":
        os.link(other, directory / NAME)
    else:
        download(directory, RIGHT)
        mount.seal()
        exchange(*((other, directory / NAME) if way == "exchange" else (directory / NAME, other)))
    eventually(lambda: len(quarantined(mount)) == 1, "it is in quarantine")
    eventually(lambda: not (directory / NAME).exists(), "and the kernel has forgotten the name")
    assert os.getxattr(other, "ipfs.cid"), "and is sealed as before"
    assert other.read_bytes() == (WRONG if way == "link" else RIGHT)


def test_what_comes_to_a_promised_name_with_its_directory_is_named_when_it_is_wrong(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    mount.expect_logged += ["broken promise"]
    (mount.path / "downloads").mkdir()
    (mount.path / "downloads" / NAME).write_bytes(WRONG)
    leave_alone(mount.path / "downloads" / NAME, 3600)
    mount.seal()
    directory = blobs(mount)
    directory.rmdir()
    (mount.path / "downloads").rename(directory)
    eventually(lambda: status(mount)["broken_promises"], "it is named")
    assert (directory / NAME).read_bytes() == WRONG


def test_another_name_of_what_was_withdrawn_can_be_opened(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged += ["moved to quarantine"]
    directory = blobs(mount)
    (directory / "x.incomplete").write_bytes(WRONG)
    os.link(directory / "x.incomplete", mount.path / "kept")
    (directory / "x.incomplete").stat()
    with pytest.raises(OSError, match="Input/output error"):
        (directory / "x.incomplete").rename(directory / NAME)
    assert (mount.path / "kept").read_bytes() == WRONG
