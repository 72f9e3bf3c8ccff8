"""The store fails while the view is used: files are served as ever, `status` says why, and the next mount mends it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.questions.registry import QUESTIONS
from tests.support.filesystems import mounted_tmpfs
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually, wait_for_guardian

CONTENT: Final = random.Random(1).randbytes(500_000)


def use(mount: Mounted, mark: str) -> None:
    """What a worker does, none of which may fail for the store's sake: also on a file that was sealed before."""
    directory = mount.path / mark
    directory.mkdir()
    for number in range(8):
        (directory / f"{number}").write_bytes(CONTENT + bytes([number]))
    (directory / "1").rename(directory / "renamed")
    (directory / "2").unlink()
    with (mount.path / "sealed").open("r+b") as file:
        file.write(mark.encode().ljust(32))
    assert (mount.path / "sealed").read_bytes() == mark.encode().ljust(32) + CONTENT[32:]
    with (directory / "3").open("r+b") as file:
        file.truncate(1000)
    (mount.path / "also-sealed").chmod(0o600)
    assert (mount.path / "also-sealed").read_bytes() == CONTENT
    assert (directory / "renamed").read_bytes() == CONTENT + b"\1"
    assert (directory / "3").read_bytes() == CONTENT[:1000]
    assert len(os.listdir(directory)) == 7


def asked(mount: Mounted, command: str) -> dict[str, Any]:
    """As the command asks, without the time that starting it takes."""
    return encode(ask(mount.store, QUESTIONS[command]()))


def sealed_mount(mounted: Callable[..., Mounted], *arguments: str) -> Mounted:
    mount = mounted(None, *arguments)
    for name in ("sealed", "also-sealed"):
        (mount.path / name).write_bytes(CONTENT)
    assert asked(mount, "seal")["failed"] == 0
    return mount


def rebuilt(mount: Mounted) -> None:
    """Mounted again, all is well and everything gets its seal."""
    mount.remount()
    assert asked(mount, "seal")["failed"] == 0
    status = asked(mount, "status")
    assert status["degraded"] == ""
    assert status["sealed"] > 0
    assert os.getxattr(mount.path / "sealed", "ipfs.cid")


def delete(store: Path) -> None:
    (store / "index").unlink()


def delete_with_its_log(store: Path) -> None:
    for path in store.glob("index*"):
        path.unlink()


def replace(store: Path) -> None:
    shutil.copy(store / "index", store / "index.new")
    (store / "index.new").rename(store / "index")


def overwrite(store: Path) -> None:
    for path in store.glob("index*"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(random.Random(2).randbytes(size))


def empty(store: Path) -> None:
    for path in store.glob("index*"):
        os.truncate(path, 0)


def test_the_index_is_spoiled_while_mounted(mounted: Callable[..., Mounted]) -> None:
    mount = sealed_mount(mounted)
    mount.expect_logged += ["the view goes on without checks and seals", "the index was made anew"]
    for spoil in (delete, delete_with_its_log, replace, overwrite, empty):
        spoil(mount.store)
        use(mount, f"{spoil.__name__}-1")
        asked(mount, "seal")
        status = asked(mount, "status")
        assert "index" in status["degraded"] or "database" in status["degraded"], spoil.__name__
        use(mount, f"{spoil.__name__}-2")
        done = mount.run("seal", mount.path, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "none is sealed for good: " in done.stderr
        assert "index" in mount.run("status", mount.path, check=False).stdout
        rebuilt(mount)


def test_status_notices_that_the_index_is_gone_though_nothing_was_written_since(
    mounted: Callable[..., Mounted],
) -> None:
    mount = sealed_mount(mounted)
    mount.expect_logged += ["the view goes on without checks and seals"]
    delete_with_its_log(mount.store)
    assert "deleted" in asked(mount, "status")["degraded"]


@pytest.mark.root
def test_the_index_cannot_be_written_any_more(mounted: Callable[..., Mounted]) -> None:
    mount = sealed_mount(mounted)
    mount.expect_logged += ["the view goes on without checks and seals"]
    with _immutable(mount.store / "index"):
        use(mount, "first")
        asked(mount, "seal")
        assert "index" in asked(mount, "status")["degraded"]
        use(mount, "second")
        mount.remount()
        use(mount, "third")
        assert "index" in asked(mount, "status")["degraded"]
        mount.umount()
    rebuilt(mount.mount())


@pytest.mark.root
def test_the_disk_of_the_store_is_full_for_a_while(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """While mounted, and when mounting. What is served is not on it. Nothing of the index is lost by it."""
    with mounted_tmpfs(tmp_path, "size=4m") as small:
        mount = sealed_mount(mounted, "--store", str(small / "store"))
        mount.expect_logged += ["database or disk is full; what is sealed waits in memory until there is room"]
        cid = os.getxattr(mount.path / "also-sealed", "ipfs.cid")
        _fill(small / "filler")
        use(mount, "first")
        asked(mount, "seal")
        assert "full: what is sealed waits" in asked(mount, "status")["degraded"]
        assert f"make room on the disk of {small}/store; " in (said := ipfsfs("status", mount.path, check=False).stdout)
        assert "fsck" not in said, "the store is sound"
        pinned = ipfsfs("pin", "add", mount.path / "also-sealed", check=False)
        assert pinned.returncode == 6
        assert "Make room on the disk of the store." in pinned.stderr
        assert os.getxattr(mount.path / "also-sealed", "ipfs.cid") == cid, "seals are used meanwhile"
        use(mount, "second")
        (small / "filler").unlink()
        eventually(lambda: asked(mount, "status")["degraded"] == "", "there is room again")
        assert asked(mount, "seal")["failed"] == 0
        sealed = asked(mount, "status")["sealed"]
        assert sealed == 2 * 7 + 2
        _fill(small / "filler")
        mount.remount()
        assert asked(mount, "status")["sealed"] == sealed
        use(mount, "third")
        mount.umount()
        (small / "filler").unlink()
        mount.mount()
        assert asked(mount, "seal")["failed"] == 0
        assert asked(mount, "status")["sealed"] == sealed + 7
        assert "made anew" not in mount.log()
        mount.umount()
        wait_for_guardian(mount.pid)
        mount.finish()


def test_another_process_wants_the_index(mounted: Callable[..., Mounted]) -> None:
    """While it is mounted nobody else gets it; one that somebody else has when a view is mounted is made anew."""
    mount = sealed_mount(mounted)
    other = sqlite3.connect(mount.store / "index", timeout=0.1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN EXCLUSIVE")
    other.close()
    use(mount, "first")
    assert asked(mount, "status")["degraded"] == ""
    mount.umount()

    mount.expect_logged += ["the index was made anew: database is locked"]
    other = sqlite3.connect(mount.store / "index", isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    mount.mount()
    use(mount, "second")
    asked(mount, "seal")
    other.close()
    rebuilt(mount)


def test_the_whole_store_is_removed_while_mounted(mounted: Callable[..., Mounted]) -> None:
    mount = sealed_mount(mounted)
    shutil.rmtree(mount.store)
    use(mount, "first")
    said = mount.run("status", mount.path, check=False).stdout
    assert "cannot open the store" in said
    mount.umount()
    assert (mount.path / "sealed").read_bytes() == b"first".ljust(32) + CONTENT[32:]
    rebuilt(mount.mount())


def test_a_damaged_ledger_is_refused_with_words_and_mended_by_fsck(mounted: Callable[..., Mounted]) -> None:
    """Which seals hold no longer stands there: without it nothing is trusted, and nothing of the user's is lost."""
    mount = sealed_mount(mounted)
    mount.umount()
    ledger = mount.store / "ledger"
    ledger.write_bytes(random.Random(3).randbytes(ledger.stat().st_size))
    for path in mount.store.glob("ledger-*"):
        path.unlink()
    refused = ipfsfs("mount", mount.path, check=False)
    assert refused.returncode == 6
    assert "ledger" in refused.stderr
    assert "fsck" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not mount.mounted
    assert (mount.path / "sealed").read_bytes() == CONTENT
    mount.expect_logged += ["the ledger .* cannot be read"]

    assert ipfsfs("fsck", mount.path, check=False).returncode == 1
    assert ipfsfs("fsck", mount.path, "--repair").returncode == 0
    rebuilt(mount.mount())


def test_h17_a_ledger_that_cannot_be_written_costs_the_index_and_no_worker(mounted: Callable[..., Mounted]) -> None:
    """The overwrite of sealed bytes goes on; nothing is left that would vouch for the bytes of before."""
    mount = sealed_mount(mounted)
    mount.expect_logged += ["the view goes on without checks and seals"]
    for path in mount.store.glob("ledger*"):
        path.unlink()
    use(mount, "first")
    assert "ledger" in asked(mount, "status")["degraded"]
    assert not (mount.store / "index").exists()
    mount.kill()
    rebuilt(mount.mount())


@contextmanager
def _immutable(path: Path) -> Iterator[None]:
    """Not even root may write to the file or remove it."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _write_on(file)


def _write_on(file: FileIO) -> None:
    while file.write(bytes(4096)):
        pass
