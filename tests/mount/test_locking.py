"""Clients wait at their own locks while another machine downloads: what the keeper holds, and what it never does."""

from __future__ import annotations

import fcntl
import os
import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.support.leased import REPO, LeasedView, client, digest, is_taken, kept_by, let_go_of_all
from tests.support.users import NOBODY, User, program_within_reach

SHA: Final = digest("a blob")
NEW: Final = os.O_CREAT | os.O_EXCL


@pytest.fixture
def view(leased: Callable[..., LeasedView]) -> LeasedView:
    """Such a view, with a repository in it."""
    return leased().with_repository()


@pytest.mark.parametrize("is_there", [False, True], ids=["a new lock file", "one that is there"])
def test_h46_a_client_waits_while_another_machine_downloads(view: LeasedView, is_there: bool) -> None:
    if is_there:
        view.lock(SHA).touch()
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=1.0)
        view.end(SHA)
        assert waiting.has_it(within_s=10.0)
        waiting.let_go()
    let_go_of_all(view.keeper)


def test_h46_a_bug_keeps_no_lock_for_ever(view: LeasedView) -> None:
    view.lease(SHA)
    (view.leases / SHA).write_text("makes it fail")
    with client(view.lock(SHA)) as waiting:
        time.sleep(0.5)
        view.end(SHA)
        assert waiting.has_it(within_s=10.0)
    let_go_of_all(view.keeper)
    assert "a bug, as this test has it" in view.log()
    os.truncate(view.store / "log" / "daemon.log", 0)  # no other test may have a traceback there


def test_h46_a_waiting_client_ends_on_ctrl_c(view: LeasedView) -> None:
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.5)
        assert waiting.interrupt() < 1.0
    let_go_of_all(view.keeper)  # nobody waits for it any more


def test_h46_others_go_on_beside_a_client_that_waits(view: LeasedView) -> None:
    """A stat, a create and a rename in both directories take as long as they do while no client waits."""

    def seconds() -> float:
        took = []
        for number in range(60):
            began = time.perf_counter()
            for directory in (view.locks, view.blobs):
                name = directory / f"{number}"
                name.touch()
                name.rename(directory / "other name")
                assert not name.exists()
                (directory / "other name").unlink()
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    idle = seconds()
    view.lease(SHA)
    with client(view.lock(SHA)) as waiting:
        assert not waiting.has_it(within_s=0.2)
        assert seconds() < 3 * idle + 0.01
        waiting.interrupt()


def test_h46_locks_of_other_names_are_nobodys(view: LeasedView) -> None:
    """What a lease is for is told by the place and the name of a lock file; no other client's lock is touched."""
    view.lease(SHA)
    sha1 = "0" * 40
    (view.leases / sha1).touch()
    for lock in (
        view.locks / f"{sha1}.lock",
        view.locks / f"{SHA}.lock.x",
        view.locks / f"x{SHA}.lock",
        view.locks / f"{SHA.upper()}.lock",
        view.locks.parent / f"{SHA}.lock",
        view.blobs / f"{SHA}.lock",  # hf-hub's, which gives up after some seconds
        view.path / f"{SHA}.lock",
    ):
        assert not is_taken(lock, NEW)
    assert not kept_by(view.keeper)


def test_h46_a_view_of_the_locks_alone_keeps_none(leased: Callable[..., LeasedView], tmp_path: Path) -> None:
    """Whether the blob is there cannot be seen in such a view."""
    above = tmp_path / "hub" / ".locks"
    (above / "models--org--name").mkdir(parents=True)
    view = leased(above)
    view.lease(SHA)
    assert not is_taken(above / "models--org--name" / f"{SHA}.lock", NEW)


def test_h46_a_view_of_the_hub_keeps_as_well(leased: Callable[..., LeasedView], tmp_path: Path) -> None:
    (tmp_path / "hub" / ".locks" / "models--org--name").mkdir(parents=True)
    view = leased(tmp_path / "hub")
    view.lease(SHA)
    assert is_taken(view.path / ".locks" / "models--org--name" / f"{SHA}.lock", NEW)
    view.end(SHA)


def test_h46_a_blob_that_is_here_is_not_waited_for(view: LeasedView) -> None:
    """Its client takes the lock for a moment, to link to it."""
    view.lease(SHA)
    (view.blobs / SHA).symlink_to("ipfs://bafybeif3pgzq5rs3rq3qfn6f3fbvqhp7zyzmgnfpiuwu5cujn4qt6vztr4?size=10")
    assert not is_taken(view.lock(SHA), NEW)
    (view.blobs / SHA).unlink()
    assert is_taken(view.lock(SHA))
    view.end(SHA)


def test_h46_a_lock_of_a_local_process_stays_its_own(view: LeasedView) -> None:
    with client(view.lock(SHA)) as holder:
        assert holder.has_it(within_s=10)
        view.lease(SHA)
        with client(view.lock(SHA)) as other:
            assert not other.has_it(within_s=0.5)
            assert not kept_by(view.keeper)
            view.end(SHA)
            holder.let_go()
            assert other.has_it(within_s=5)
            other.let_go()


def test_h46_two_clients_wait_and_one_goes_on_after_the_other(view: LeasedView) -> None:
    view.lease(SHA)
    with client(view.lock(SHA)) as one, client(view.lock(SHA)) as other:
        assert not one.has_it(within_s=0.5)
        assert not other.has_it(within_s=0.1)
        view.end(SHA)
        first, second = (one, other) if one.has_it(within_s=1.0) else (other, one)
        first.let_go()
        assert second is other or first.process is other.process
        assert second.has_it(within_s=5.0)
        second.let_go()


def test_a_hundred_locks_at_once(leased: Callable[..., LeasedView]) -> None:
    view = leased(within=20.0).with_repository()
    shas = [digest(f"{number}") for number in range(100)]
    for sha in shas:
        view.lease(sha)
    with ThreadPoolExecutor(16) as clients:
        assert all(clients.map(lambda sha: is_taken(view.lock(sha), NEW), shas))
        assert kept_by(view.keeper) == 100
        assert all(clients.map(lambda sha: is_taken(view.lock(sha)), shas))
    for sha in shas:
        view.end(sha)
    let_go_of_all(view.keeper)
    assert not any(is_taken(view.lock(sha)) for sha in shas)


def test_many_clients_come_and_go(view: LeasedView) -> None:
    """Leases come and end while clients ask: two never have one lock, and all end."""
    shas = [digest(f"{number}") for number in range(8)]
    having: dict[str, int] = dict.fromkeys(shas, 0)

    def use(number: int) -> None:
        sha = shas[number % len(shas)]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            fd = os.open(view.lock(sha), os.O_RDWR | os.O_CREAT, 0o664)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                time.sleep(0.01)
                continue
            having[sha] += 1
            assert having[sha] == 1
            having[sha] -= 1
            os.close(fd)
            return
        raise AssertionError("a client waited for a minute")

    with ThreadPoolExecutor(33) as clients:
        all_done = [clients.submit(use, number) for number in range(400)]
        turn = 0
        while not all(one.done() for one in all_done):
            sha = shas[turn % len(shas)]
            if (view.leases / sha).exists():
                view.end(sha)
            else:
                view.lease(sha)
            turn += 1
            time.sleep(0.02)
        for one in all_done:
            one.result()
    for left in view.leases.iterdir():
        left.unlink()
    let_go_of_all(view.keeper)


@pytest.mark.root
def test_another_users_client_waits_in_roots_view(open_to_all: Path, leased: Callable[..., LeasedView]) -> None:
    view = leased(open_to_all / "cache", allow_other=True).with_repository()
    for path in (view.locks, view.blobs):
        path.chmod(0o777)
    for path in (view.path, view.path / "hub", view.locks.parent, view.blobs.parent):
        path.chmod(0o755)
    view.lease(SHA)
    anna = User(4_001, umask=0o077)
    script = f"""
import fcntl
fd = os.open({str(view.lock(SHA))!r}, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
do(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
"""
    assert anna.run(script, view.locks) == ["EAGAIN"]
    view.end(SHA)


@pytest.mark.root
def test_an_ordinary_users_client_waits_in_that_users_view(
    open_to_all: Path, leased: Callable[..., LeasedView]
) -> None:
    home = open_to_all / "home"
    for path in (home, home / "cache", home / "cache.leases"):
        path.mkdir()
        os.chown(path, NOBODY.uid, NOBODY.uid)
    script = f"""
import fcntl
os.makedirs("hub/.locks/{REPO}"); os.makedirs("hub/{REPO}/blobs")
fd = os.open("hub/.locks/{REPO}/{SHA}.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o664)
do(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB))
"""
    with program_within_reach(open_to_all) as program:
        user = str(NOBODY.uid)
        view = leased(
            home / "cache",
            program=("setpriv", "--reuid", user, "--regid", user, "--clear-groups", program["python"]),
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": program["PYTHONPATH"]},
        )
        (home / "cache.leases" / SHA).touch()
        assert NOBODY.run(script, view.path) == ["EAGAIN"]
        (home / "cache.leases" / SHA).unlink()
        let_go_of_all(view.keeper)
        done = NOBODY.command(["fusermount3", "-u", view.path])
        assert done.returncode == 0, done.stderr
        assert view.process is not None
        assert view.process.wait(timeout=20) == 0
    assert not view.complaints()
    shutil.rmtree(home)  # a store of theirs, which root does not open
