"""A daemon that ends though nobody asked it to, and one that goes on after its path was given back: users are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import umount
from tests.support.guardians import impatient_guardian
from tests.support.mounted import UNASKED_END, Mounted, clear, environment, ipfsfs
from tests.support.processes import beside, eventually, guardians_of, stopped, wait_for_guardian


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def end_unasked(mount: Mounted, number: int = signal.SIGKILL) -> None:
    """Kill the daemon, and wait until its guardian has seen to that."""
    mount.expect_logged += [UNASKED_END, "was ended by"]
    os.kill(mount.pid, number)
    wait_for_guardian(mount.pid)
    assert not mount.mounted


def test_h04_a_guardian_ends_its_own_daemon_only_when_its_own_view_hangs(mounted: Callable[..., Mounted]) -> None:
    """A daemon serves what is open of a view that is gone; the next view, of the same store at the same path, hangs."""
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    first = mount.pid
    with (mount.path / "file").open("rb", buffering=0) as held, impatient_guardian(mount) as of_first:
        mount.umount("--lazy")
        mount.mount()
        second = mount.pid
        with impatient_guardian(mount) as of_second:
            mount.expect_logged.append(UNASKED_END)
            os.kill(second, signal.SIGSTOP)
            assert of_second.wait(30) == 0
            assert of_second.stderr is not None
            assert "has not answered" in of_second.stderr.read()
        assert not mount.mounted
        assert not alive(second)
        assert alive(first)
        os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert held.read() == b"content"
        assert of_first.poll() is None
    eventually(lambda: not alive(first), "the first daemon ends when the file is closed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_status_says_that_a_daemon_ended_and_what_to_do(mounted: Callable[..., Mounted], number: int) -> None:
    mount = mounted()
    pid = mount.pid
    end_unasked(mount, number)
    for arguments in ([mount.path], []):
        done = ipfsfs("status", *arguments, check=False)
        assert done.returncode == 1
        assert str(mount.path) in done.stdout
        assert f"the daemon (process {pid}) " in done.stdout
        assert f"ipfsfs mount {mount.path}" in done.stdout
    (facts,) = json.loads(ipfsfs("status", mount.path, "--json", check=False).stdout)
    assert (facts["mounted"], facts["ended"]["pid"]) == (False, pid)
    assert facts["ended"]["status"] in (None, -number)  # kernels before 6.15 do not tell of who was waited for
    assert f"(process {pid})" in mount.log()
    ipfsfs("fsck", mount.path)  # which knows the note


def test_an_end_is_noted_by_a_guardian_that_was_started_later(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged.append("the guardian was ended")
    ended = guardians_of(mount.pid)
    os.kill(ended[0], signal.SIGKILL)
    eventually(lambda: guardians_of(mount.pid) not in ([], ended), "there is another")
    pid = mount.pid
    end_unasked(mount)
    assert f"the daemon (process {pid}) " in ipfsfs("status", mount.path, check=False).stdout


@pytest.mark.parametrize("command", ["mount", "umount"])
def test_an_end_is_forgotten_once_the_user_has_seen_to_it(mounted: Callable[..., Mounted], command: str) -> None:
    mount = mounted()
    end_unasked(mount)
    ipfsfs(command, mount.path)
    assert ipfsfs("status", mount.path).returncode == 0
    if command == "mount":
        mount.pid = mount.status()["pid"]
        mount.umount()
    assert mount.status()["ended"] is None
    assert str(mount.path) not in ipfsfs("status", check=False).stdout


def test_an_end_that_was_asked_for_is_none_to_tell_of(mounted: Callable[..., Mounted]) -> None:
    """By the command, by a signal, and by another program than ours."""
    mount = mounted()
    mount.umount()
    assert mount.status()["ended"] is None
    mount.mount()
    os.kill(mount.pid, signal.SIGTERM)
    wait_for_guardian(mount.pid)
    assert mount.status()["ended"] is None
    mount.mount()
    kernels_own(mount.path)
    wait_for_guardian(mount.pid)
    assert mount.status()["ended"] is None


def kernels_own(path: Path, *options: str) -> None:
    """Unmount without asking ipfsfs."""
    subprocess.run(["umount", *options, path], check=True)


def test_a_view_mounted_with_restart_comes_back(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    mount = mounted(tmp_path / "cache", "--restart")
    (mount.path / "file").write_bytes(b"content")
    mount.expect_logged.append(UNASKED_END)
    for _ in range(2):
        killed = mount.pid
        os.kill(killed, signal.SIGKILL)
        eventually(lambda killed=killed: is_back(mount, killed), "the view is back")  # type: ignore[misc]
        assert (mount.path / "file").read_bytes() == b"content"
    last = mount.pid
    mount.umount()
    wait_for_guardian(last)
    assert not mount.mounted
    assert mount.status()["ended"] is None


def is_back(mount: Mounted, killed: int) -> bool:
    if not mount.mounted:
        return False
    found = json.loads(ipfsfs("status", mount.path, "--json", check=False).stdout)
    if "error" in found:
        return False
    mount.pid = found[0]["pid"]
    return mount.pid not in (None, killed)


def test_a_view_that_is_unmounted_before_it_is_started_again_stays_away(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    mount = mounted(tmp_path / "cache", "--restart")
    mount.expect_logged += [UNASKED_END, "was unmounted before it was mounted again"]
    killed = mount.pid
    with stopped(guardians_of(killed)):
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: not alive(killed), "the daemon is gone")
    eventually(lambda: (mount.store / "ended").exists(), "its end is noted")
    ipfsfs("umount", mount.path)
    wait_for_guardian(killed)
    eventually(lambda: not beside("daemon.guardian") or not of_store(mount), "no guardian of this store is left")
    assert not mount.mounted
    assert mount.status()["ended"] is None


def of_store(mount: Mounted) -> list[int]:
    """Daemons and guardians of a store."""
    word = os.fsencode(mount.store)
    pids = [*beside("daemon"), *beside("daemon.guardian")]
    return [pid for pid in pids if alive(pid) and word in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_daemon_that_cannot_be_started_is_given_up(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.expect_logged.append("has format 99")
    with impatient_guardian(mount, restarts=()) as guardian:
        with stopped([mount.pid]):  # it cannot start another guardian
            for pid in guardians_of(mount.pid):
                os.kill(pid, signal.SIGKILL)
            (mount.store / "format").write_text("99\n")
            os.kill(mount.pid, signal.SIGKILL)
        said = guardian.communicate(timeout=120)[1]
    assert said.count(f"the daemon of {mount.path} could not be started: ") == 5
    assert "the daemon is not started again" in said
    done = ipfsfs("status", mount.path, check=False)
    assert done.returncode == 1
    assert "not started again" in done.stdout
    assert "has format 99" in done.stdout
    (mount.store / "format").write_text("1\n")


def test_umount_says_who_keeps_the_daemon_and_status_lists_it(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    first = mount.pid
    with (mount.path / "file").open("rb") as file:
        user = subprocess.Popen(["sleep", "100"], stdin=file)
    with user:
        said = ipfsfs("umount", "--lazy", mount.path).stdout
        assert f"1 file is still open: the daemon (process {first}) goes on until it is closed" in said
        assert f"sleep (process {user.pid}) uses {mount.path}/file" in said
        mount.mount()
        assert mount.pid != first, "the store is free meanwhile"
        for arguments in ([mount.path], []):
            said = ipfsfs("status", *arguments, check=False).stdout
            assert f"process {first} serves files" in said
            assert f"sleep (process {user.pid}) uses {mount.path}/file" in said
        (lingering,) = mount.status()["lingering"]
        assert lingering["pid"] == first
        mount.umount()
        assert [one["pid"] for one in mount.status()["lingering"]] == [first]
        assert f"process {first} serves files" in ipfsfs("status", check=False).stdout, (
            "no view of it is mounted any more"
        )
        user.kill()
    eventually(lambda: not alive(first), "the daemon ends when the file is closed")
    assert mount.status()["lingering"] == []


def test_umount_tells_scripts_of_open_files(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    with (mount.path / "file").open("rb"):
        facts = json.loads(ipfsfs("umount", "--lazy", "--json", mount.path).stdout)
    assert facts["daemon_goes_on"]
    assert (facts["pid"], facts["open_files"], len(facts["users"])) == (mount.pid, 1, 1)
    mount.mount()
    facts = json.loads(ipfsfs("umount", "--json", mount.path).stdout)
    assert (facts["daemon_goes_on"], facts["pid"], facts["open_files"]) == (False, None, 0)
    facts = json.loads(ipfsfs("umount", "--json", mount.path).stdout)
    assert not facts["was_mounted"]


@pytest.mark.root
def test_umount_names_the_mount_namespace_that_has_the_view_still(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    script = "echo here; read _"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        said = ipfsfs("umount", mount.path).stdout
        assert "still mounted elsewhere" in said
        assert f"{mount.path} in the mount namespace of " in said
        assert f"(process {other.pid})" in said
        assert f"the daemon (process {mount.pid}) goes on" in said
        told = ipfsfs("status", mount.path).stdout
        assert f"still mounted at {mount.path} in the mount namespace of " in told
        assert f"(process {other.pid})" in told
        assert "may not look into" not in told
        (lingering,) = mount.status()["lingering"]
        assert str(other.pid) in lingering["mounted_elsewhere"][0]
        other.communicate("\n")
    eventually(lambda: not alive(mount.pid), "the daemon ends with the namespace")


@pytest.mark.root
def test_a_view_that_another_program_unmounts_lazily_releases_its_store(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    first = mount.pid
    with (mount.path / "file").open("rb") as held:
        kernels_own(mount.path, "--lazy")
        mount.mount()
        assert mount.pid != first
        assert [one["pid"] for one in mount.status()["lingering"]] == [first]
        assert held.read() == b"content"
    eventually(lambda: not alive(first), "the daemon ends when the file is closed")
    assert mounts.view_at(mount.path) is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_daemon_that_is_asked_to_stop_the_moment_it_has_mounted_does_so(tmp_path: Path, number: int) -> None:
    """Before anybody was told that it is mounted: the path comes back, and nothing is said of an accident."""
    at, store = tmp_path / "cache", tmp_path / "store"
    at.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "ipfsfs", "mount", "--foreground", at, "--store", store]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
        try:
            while mounts.view_at(at) is None:
                assert daemon.poll() is None
            daemon.send_signal(number)
            assert daemon.wait(30) == 0
            assert mounts.view_at(at) is None
            assert not (store / "ended").exists()
        finally:
            daemon.kill()
            clear(at)


def test_a_daemon_that_serves_open_files_ends_when_it_is_asked_once_more(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    mount.expect_logged.append("their users lose them now")
    with (mount.path / "file").open("rb", buffering=0) as held:
        mount.umount("--lazy")
        assert alive(mount.pid)
        os.kill(mount.pid, signal.SIGTERM)
        eventually(lambda: not alive(mount.pid), "it ends", 4)
        with pytest.raises(OSError, match="not connected"):
            os.fchmod(held.fileno(), 0o600)
    assert "their users lose them now" in mount.log()


@pytest.fixture
def over_tmpfs(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """The daemon of a view of a tmpfs with a file, in the foreground; the path and the store."""
    at, store = tmp_path / "cache", tmp_path / "store"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "under", at], check=True)
    (at / "file").write_bytes(b"content")
    command = [sys.executable, "-m", "ipfsfs", "mount", "--foreground", str(at), "--store", str(store)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as daemon:
        assert daemon.stderr is not None
        assert daemon.stderr.readline().startswith(b"serving ")
        try:
            yield daemon, at, store
        finally:
            daemon.kill()
            while mounts.at(at) is not None:
                subprocess.run(["umount", "-l", at], check=True)


def is_beneath(at: Path) -> bool:
    """Whether what was beneath the view is at its path."""
    beneath = mounts.at(at)
    return beneath is not None and (beneath.filesystem, beneath.source) == ("tmpfs", "under")


@pytest.mark.root
def test_signals_that_come_together_unmount_once_and_serve_what_is_open(
    over_tmpfs: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    daemon, at, _ = over_tmpfs
    with (at / "file").open("rb", buffering=0) as held:
        daemon.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        daemon.send_signal(signal.SIGHUP)
        time.sleep(1)
        os.posix_fadvise(held.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert held.read() == b"content", "both are one request: what is open is served for 5 s"
        assert is_beneath(at)
    assert daemon.wait(20) == 0
    assert (at / "file").read_bytes() == b"content"


@pytest.mark.root
def test_two_who_unmount_at_once_take_the_view_alone_away(
    over_tmpfs: tuple[subprocess.Popen[bytes], Path, Path],
) -> None:
    daemon, at, store = over_tmpfs
    with (at / "file").open("rb"):
        asking = [threading.Thread(target=ask, args=(store, umount.Question(lazy=True))) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(20)
        assert is_beneath(at)
    assert daemon.wait(20) == 0
