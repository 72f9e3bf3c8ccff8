"""The keeper: what it holds, when it lets go, and that it is in nobody's way, be it dead or hanging."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.leased import LeasedView, client, digest, is_taken, kept_by, let_go_of_all
from tests.support.mounted import ipfsfs
from tests.support.processes import descriptors, eventually, keepers_of, stopped

SHA: Final = digest("a blob")
NEW: Final = os.O_CREAT | os.O_EXCL


@pytest.fixture
def view(leased: Callable[..., LeasedView]) -> LeasedView:
    """Such a view, with a repository in it."""
    return leased().with_repository()


def test_h46_clients_go_on_when_the_keeper_is_killed(view: LeasedView) -> None:
    view.expect_logged.append("the keeper was ended by SIGKILL")
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        os.kill(view.keeper, signal.SIGKILL)
        assert waiting.has_it(within_s=5.0)
        waiting.let_go()
    eventually(lambda: keepers_of(view.pid), "another keeper is there")
    eventually(lambda: is_taken(view.lock(SHA)), "it keeps as the first did")
    view.end(SHA)


def test_h46_clients_go_on_when_the_keeper_hangs(view: LeasedView) -> None:
    """A lock that it does not let go of is taken from it; one that it cannot take is the client's."""
    view.expect_logged.append("the keeper hangs")
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        with stopped([view.keeper]):
            view.end(SHA)
            assert waiting.has_it(within_s=20.0)
            waiting.let_go()
    eventually(lambda: keepers_of(view.pid), "another keeper is there")


def test_h46_an_open_waits_no_longer_than_it_may(leased: Callable[..., LeasedView]) -> None:
    view = leased(within=0.02).with_repository()
    view.expect_logged.append("the keeper hangs")
    view.lease(SHA)
    with stopped([view.keeper]):
        began = time.perf_counter()
        assert not is_taken(view.lock(SHA), NEW)
        assert time.perf_counter() - began < 0.5
    view.end(SHA)


def test_h46_the_path_is_plain_again_when_the_daemon_is_killed(view: LeasedView) -> None:
    view.lease(SHA)
    keeper = view.keeper
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        view.kill()
        waiting.process.communicate(b"\n", timeout=20)  # ENOTCONN ends it, or it goes on beneath
    eventually(lambda: not Path(f"/proc/{keeper}").exists(), "the keeper ends with its daemon")


@pytest.mark.parametrize("how", ["umount", "umount --lazy", "SIGTERM", "umount(8) --lazy"])
def test_h46_unmounting_is_immediate_while_locks_are_held(leased: Callable[..., LeasedView], how: str) -> None:
    """The clients have gone; the keeper still holds their locks."""
    view = leased(within=20.0).with_repository()
    for number in range(20):
        view.lease(digest(f"{number}"))
        assert is_taken(view.lock(digest(f"{number}")), NEW)
    assert kept_by(view.keeper) == 20
    began = time.monotonic()
    match how:
        case "umount":
            view.umount()
        case "umount --lazy":
            view.umount("--lazy")
        case "SIGTERM":
            os.kill(view.pid, signal.SIGTERM)
        case _:
            subprocess.run(["umount", "-l", view.path], check=True)
    assert view.process is not None
    assert view.process.wait(timeout=20) == 0
    assert time.monotonic() - began < 4.0  # files that are open are served for 5 s after a signal
    assert not view.mounted
    assert "files are still open" not in view.log()


def test_h46_another_program_can_unmount_soon_after_the_last_client(view: LeasedView) -> None:
    """It asks nobody before it tries: while a lock is held the view is in use."""
    view.lease(SHA)
    assert is_taken(view.lock(SHA), NEW)

    def unmounted() -> bool:
        return subprocess.run(["umount", view.path], check=False, capture_output=True).returncode == 0

    assert not unmounted()
    eventually(unmounted, "the view is not in use any more", within_s=10.0)
    assert view.process is not None
    assert view.process.wait(timeout=20) == 0


def test_h46_umount_names_who_uses_the_view_and_not_the_keeper(view: LeasedView) -> None:
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        with (view.path / "open").open("w"):
            refused = ipfsfs("umount", view.path, check=False)
        assert refused.returncode != 0
        assert f"(process {os.getpid()})" in refused.stderr
        assert "keeper" not in refused.stderr
        view.end(SHA)
        assert waiting.has_it(within_s=10)
        waiting.let_go()
    second = digest("after it was refused")
    view.lease(second)
    assert is_taken(view.lock(second), NEW)
    view.end(second)


def test_of_more_locks_than_the_keeper_holds_the_rest_are_the_clients(view: LeasedView) -> None:
    shas = [digest(f"{number}") for number in range(560)]
    for sha in shas:
        view.lease(sha)
    taken = sum(is_taken(view.lock(sha), NEW) for sha in shas)
    assert taken <= 560
    assert len(descriptors(view.keeper)) <= 520
    for sha in shas:
        view.end(sha)


def test_a_lock_file_that_was_removed_is_let_go_of(view: LeasedView) -> None:
    """Neither the keeper nor the kernel nor the daemon holds on to it, be there never a client again."""
    view.lease(SHA)
    assert is_taken(view.lock(SHA), NEW)
    view.lock(SHA).unlink()
    assert is_taken(view.lock(SHA), NEW)  # another file, of the same name
    view.end(SHA)
    let_go_of_all(view.keeper)
    view.lock(SHA).unlink()

    def held() -> list[str]:
        return [name for pid in (view.pid, view.keeper) for name in descriptors(pid).values() if f"{SHA}.lock" in name]

    eventually(lambda: not held(), "nothing holds the file that was removed")


def test_h03_the_keeper_has_nothing_of_fuse_open(leased: Callable[..., LeasedView]) -> None:
    view = leased(within=20.0).with_repository()
    view.lease(SHA)
    assert is_taken(view.lock(SHA), NEW)
    names = list(descriptors(view.keeper).values())
    assert not any("fuse" in name for name in names), names
    assert sum(name.startswith(str(view.path)) for name in names) == 1
    view.end(SHA)


def test_the_keeper_is_no_reader(view: LeasedView) -> None:
    """Nothing that counts what is opened and read counts the keeper."""
    view.lock(SHA).touch()
    os.utime(view.lock(SHA), (1, 1))
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        eventually(lambda: view.status()["open_files"] == 0, "no file counts as open")
        assert kept_by(view.keeper) == 1
    assert view.lock(SHA).stat().st_atime == 1
    view.end(SHA)
