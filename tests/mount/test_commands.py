"""What the commands say where something stands in their way: each in words that name the path, and what to do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.fuse import mountpoint
from tests.support.calls import download
from tests.support.mounted import Mounted, alone, clear, environment, ipfsfs
from tests.support.processes import stopped
from tests.support.users import NOBODY, User, program_within_reach

BEN: Final = User(4_002)


@pytest.mark.root
def test_verifying_all_views_names_the_one_that_cannot_be_asked_and_verifies_the_others(
    mounted: Callable[..., Mounted],
) -> None:
    deaf, other = mounted(), mounted()
    views = [deaf.path, other.path]
    (other.path / "file").write_bytes(b"content")
    other.seal()
    aside = deaf.store.with_name("aside")
    deaf.store.rename(aside)
    try:
        done = alone(views, "verify")
        facts = json.loads(alone(views, "verify", "--json").stdout)
    finally:
        aside.rename(deaf.store)
    assert done.returncode == 1
    assert f"not verified: {deaf.path}: cannot open the store" in done.stdout
    assert facts["files"] == 1
    assert [item["path"] for item in facts["not_verified"]] == [str(deaf.path)]
    with stopped([deaf.pid]):
        time.sleep(1.1)  # what the kernel has cached of the root
        done = alone(views, "verify")
    assert done.returncode == 1
    assert f"the daemon behind {deaf.path} does not answer" in done.stdout
    assert "1 file, " in done.stdout


@pytest.fixture
def as_ben(open_to_all: Path) -> Iterator[Callable[..., CompletedProcess[str]]]:
    """Runs ipfsfs as another user, or as the one that is named."""
    with program_within_reach(open_to_all) as program:

        def run(*arguments: str | Path, user: User = BEN) -> CompletedProcess[str]:
            return user.command(
                [program["python"], "-m", "ipfsfs", *arguments],
                HOME=str(open_to_all),
                PYTHONPATH=program["PYTHONPATH"],
            )

        yield run


@pytest.mark.root
def test_anothers_view_is_left_out_unless_it_is_named(
    open_to_all: Path, as_ben: Callable[..., CompletedProcess[str]], mounted: Callable[..., Mounted]
) -> None:
    (open_to_all / "cache").mkdir(mode=0o755)
    mounted(open_to_all / "cache")
    done = as_ben("verify")
    assert "nothing of yours is mounted" in done.stderr
    assert done.returncode == 5
    assert "Nothing is mounted" in as_ben("status").stdout


@pytest.mark.parametrize("command", ["mount", "umount", "status", "seal", "cid", "verify", "fsck", "why"])
def test_an_empty_path_is_not_the_current_directory(command: str, tmp_path: Path) -> None:
    done = ipfsfs(command, "", check=False, cwd=tmp_path)
    assert mounts.view_at(tmp_path) is None
    assert (done.returncode, done.stdout) == (2, "")
    assert "an empty path names nothing" in done.stderr


@pytest.mark.parametrize("length", [248, 249, 255])
@pytest.mark.parametrize("letter", ["n", "\N{SNOWMAN}"])
def test_h39_a_name_that_leaves_no_room_for_that_of_a_store_beside_it(tmp_path: Path, letter: str, length: int) -> None:
    name = letter * (length // len(letter.encode()))
    cache = tmp_path / (name + "n" * (length - len(name.encode())))
    _mounts_and_verifies(cache, tmp_path / "state")
    beside = [path.name for path in tmp_path.iterdir() if path.name.endswith(".ipfsfs")]
    assert beside == ([f"{cache.name}.ipfsfs"] if length <= 248 else [])


@pytest.mark.parametrize("length", [490, 491, 4090])
def test_h39_a_path_that_leaves_no_room_for_that_of_a_store_below_it(tmp_path: Path, length: int) -> None:
    above = tmp_path
    while len(str(above)) < length - 300:
        above /= "n" * 200
    above.mkdir(parents=True, exist_ok=True)
    _mounts_and_verifies(above / ("n" * (length - len(str(above)) - 1)), tmp_path / "state")


def _mounts_and_verifies(cache: Path, state: Path) -> None:
    env = environment(XDG_STATE_HOME=str(state))
    try:
        ipfsfs("mount", cache, env=env)
        (cache / "f").write_bytes(b"content")
        ipfsfs("seal", cache, env=env)
        ipfsfs("umount", cache, env=env)
        assert json.loads(ipfsfs("status", cache, "--json", env=env).stdout)[0]["store"]
        assert json.loads(ipfsfs("verify", cache, "--json", env=env).stdout)["unsealed"] == 0
        ipfsfs("fsck", cache, env=env)
    finally:
        clear(cache)


@pytest.mark.parametrize("command", ["mount", "umount", "status", "seal", "cid", "verify", "fsck", "why"])
def test_a_path_that_is_too_long_is_named_in_words(command: str, tmp_path: Path) -> None:
    for path in (tmp_path / ("n" * 256), tmp_path / "/".join(["n" * 200] * 21)):
        done = ipfsfs(command, path, check=False)
        assert done.returncode in (1, 2), done.stdout
        assert "Traceback" not in done.stderr
        assert str(path) in done.stderr
        assert "File name too long" in done.stderr


@pytest.mark.parametrize("command", ["umount", "status", "seal", "cid", "verify", "fsck", "why"])
def test_a_path_where_nothing_is_is_wrong_usage_mounted_or_not(
    command: str, tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    def refused(path: Path) -> None:
        # As a user names it: with the whole path, it must be said of which directory.
        done = ipfsfs(command, path.name, check=False, cwd=path.parent)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{path}: No such file or directory" in done.stderr

    refused(tmp_path / "nowhere")
    if command in ("umount", "status", "fsck"):
        return
    mount = mounted()
    refused(mount.path / "nothere")
    mount.umount()
    if command != "seal":
        refused(mount.path / "nothere")


@pytest.mark.parametrize("command", ["umount", "status", "fsck", "log", "ls --view"])
def test_what_is_no_directory_and_what_leads_to_none_is_wrong_usage(command: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    done = ipfsfs(*command.split(), tmp_path / "link", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/link, a link to nowhere: No such file or directory" in done.stderr
    (tmp_path / "file").write_bytes(b"")
    done = ipfsfs(*command.split(), tmp_path / "file", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/file: Not a directory" in done.stderr


def test_a_directory_above_views_tells_of_them(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    above = mount.path.parent
    said = ipfsfs("umount", above).stdout
    assert f"{above} is not mounted" in said
    assert f"  ipfsfs umount {mount.path}\n" in said
    assert str(mount.path) in json.loads(ipfsfs("umount", above, "--json").stdout)["views_below"]
    assert f"mounted below  {mount.path}" in ipfsfs("status", above).stdout
    (facts,) = json.loads(ipfsfs("status", above, "--json").stdout)
    assert facts["views_below"] == [str(mount.path)]
    refused = ipfsfs("seal", above, check=False)
    assert (refused.returncode, f"  {mount.path}\n" in refused.stderr) == (5, True)
    assert mount.mounted


@pytest.mark.root
def test_a_path_out_of_reach_is_named_in_words(open_to_all: Path, as_ben: Callable[..., CompletedProcess[str]]) -> None:
    private = open_to_all / "private"
    (private / "below").mkdir(parents=True)
    private.chmod(0o700)
    for command in ("umount", "status", "seal", "cid", "verify", "fsck", "why", "mount"):
        done = as_ben(command, private / "below")
        assert done.returncode in (1, 2), command
        assert str(private / "below") in done.stderr
        assert "Permission denied" in done.stderr
        assert "Traceback" not in done.stderr


def test_commands_in_a_view_whose_daemon_died_say_so(tmp_path: Path) -> None:
    view = tmp_path / "view"
    view.mkdir()
    device = mountpoint.mount(view, f"{view}.ipfsfs", allow_other=False, read_only=False)
    os.close(device)
    try:
        for command in ("seal", "cid", "verify", "why"):
            for path in (view, view / "below"):
                done = ipfsfs(command, path, check=False)
                assert done.returncode == 5
                assert str(view) in done.stderr
                assert "what to do: " in done.stderr
                assert "ipfsfs status\n" in done.stderr
                assert "Traceback" not in done.stderr
    finally:
        clear(view)


def test_a_path_inside_a_view_is_known_to_lie_in_it(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "hub").mkdir()
    done = ipfsfs("umount", mount.path / "hub", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{mount.path}/hub lies in the view of {mount.path}\n" in done.stderr
    assert mount.mounted
    assert json.loads(ipfsfs("status", mount.path / "hub", "--json").stdout)[0]["pid"] == mount.pid
    said = ipfsfs("status", mount.path / "hub").stdout
    assert f"{mount.path}/hub lies in the view of {mount.path}.\n" in said
    assert f"mounted by process {mount.pid}" in said


@pytest.mark.root
def test_who_asks_for_native_reads_and_cannot_have_them_is_told_why(
    open_to_all: Path, as_ben: Callable[..., CompletedProcess[str]]
) -> None:
    at, store = open_to_all / "cache", open_to_all / "store"
    for directory in (at, store):
        directory.mkdir()
        os.chown(directory, NOBODY.uid, NOBODY.uid)
    why = "the kernel reads files past the daemon in views that root mounted alone"
    try:
        done = as_ben("mount", "--check", "native", "--store", store, at, user=NOBODY)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"ipfsfs: --check native does nothing here, every read is checked: {why}\n"
        status = as_ben("status", at, user=NOBODY).stdout
        assert why in status
        assert "Linux 6.9" not in status
        as_ben("umount", at, user=NOBODY)
    finally:
        clear(at)


@pytest.mark.root
@pytest.mark.parametrize("lets_in", [(), ("--allow-other",)])
def test_anothers_view_is_called_that(
    open_to_all: Path,
    as_ben: Callable[..., CompletedProcess[str]],
    mounted: Callable[..., Mounted],
    lets_in: tuple[str, ...],
) -> None:
    (open_to_all / "cache").mkdir(mode=0o755)
    mount = mounted(open_to_all / "cache", *lets_in)
    said = f"{mount.path} is another user's view (root, uid 0)"
    for command in ("umount", "seal", "cid", "verify", "why"):
        done = as_ben(command, mount.path)
        assert done.returncode == 5, command
        assert said in done.stderr, command
    assert said in as_ben("status", mount.path).stdout
    done = as_ben("mount", mount.path)
    if lets_in:
        assert (done.returncode, done.stderr) == (0, "")
        assert "is mounted already by another user (root, uid 0)" in done.stdout
        done = as_ben("cid", "--chunker", "fixed", mount.path)
        assert (done.returncode, done.stdout[:3]) == (0, "baf")
    else:
        assert done.returncode == 5
        assert said in done.stderr
    mount.umount()
    for command in ("seal", "verify", "why"):  # the store is there, and out of reach
        done = as_ben(command, mount.path)
        assert done.returncode == 5, command
        assert "Traceback" not in done.stderr, command


def test_a_name_cannot_make_a_line_of_what_is_said(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    name = "a\nb \x1b[31m'c\udcff"
    (tmp_path / name).mkdir()
    mount = mounted(tmp_path / name)
    blob = download(mount, f"models--{name}", hashlib.sha256(b"as downloaded").hexdigest(), b"as downloaded")
    link = mount.path / "link"
    link.symlink_to(name)
    mount.seal()
    mount.expect_logged.append("broken promise")
    with blob.open("r+b") as file:
        file.write(b"AS")
    mount.seal()
    verified = mount.run("verify", mount.path, check=False)
    said = [
        verified,
        *(
            mount.run(*command, check=False)
            for command in (
                ("mount", mount.path),
                ("status", mount.path),
                ("why", blob),
                ("why", mount.path / "no\nne"),
                ("why", link),
                ("umount", mount.path / "hub"),
                ("fsck", mount.path),
            )
        ),
    ]
    for done in said:
        for line in (done.stdout + done.stderr).splitlines():
            assert not line.startswith(("b ", "ne"))
            assert "\x1b" not in line
    (advice,) = [line for line in verified.stdout.splitlines() if "restore " in line]
    command = advice.partition(": ")[2].replace("ipfsfs restore ", "stat -c %i ")
    for shell in ("bash", "zsh"):
        if shutil.which(shell):
            did = subprocess.run([shell, "-c", command], cwd="/", capture_output=True, text=True, check=False)
            assert did.stdout == f"{blob.stat().st_ino}\n", did.stderr


def test_what_to_remove_is_named_by_its_whole_path(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    (tmp_path / "a b").mkdir()
    mount = mounted(tmp_path / "a b")
    path = download(mount, "models--a--b", hashlib.sha256(b"as downloaded").hexdigest(), b"as downloaded")
    mount.seal()
    mount.expect_logged.append("broken promise")
    with path.open("r+b") as file:
        file.write(b"AS")
    mount.seal()
    wanted = f"Put it back: ipfsfs restore '{path}'"
    done = mount.run("verify", mount.path, check=False)
    assert f"  {wanted}\n" in done.stdout
    (wrong,) = json.loads(mount.run("verify", mount.path, "--json", check=False).stdout)["wrong"]
    assert wrong["fix"] == wanted
    mount.umount()
    assert f"  {wanted}\n" in mount.run("verify", mount.path, check=False).stdout


def test_why_says_what_is_wrong_with_a_file(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    path = download(mount, "models--a--b", hashlib.sha256(b"as downloaded").hexdigest(), b"as downloaded")
    mount.seal()
    assert json.loads(mount.run("why", path, "--json").stdout)["wrong"] == []
    assert "\nwrong " not in mount.run("why", path).stdout
    mount.expect_logged.append("broken promise")
    with path.open("r+b") as file:
        file.write(b"AS")
    mount.seal()
    (found,) = mount.status()["broken_promises"]
    for _ in range(2):
        assert json.loads(mount.run("why", path, "--json").stdout)["wrong"] == [found]
        said = mount.run("why", path).stdout
        assert f" broken promise: {found['detail']}; program: {found['who']}\n" in said
        assert f"ipfsfs restore {path}\n" in said
        if mount.mounted:
            mount.umount()


def test_why_says_that_nothing_is_mounted_to_seal_a_file(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "sealed").write_bytes(b"content")
    mount.seal()
    mount.umount()
    (mount.path / "sealed").write_bytes(b"changed")
    (mount.path / "unsealed").write_bytes(b"content")
    for name in ("sealed", "unsealed"):
        facts = json.loads(mount.run("why", mount.path / name, "--json").stdout)
        assert not facts["sealed"]
        assert "nothing is mounted that would seal it" in facts["why"]


def test_what_has_no_seal_is_counted_as_it_is(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    mount.umount()
    (mount.path / "file").write_bytes(b"content")
    said = ipfsfs("verify", mount.path).stdout
    assert "Without a seal to compare with: 1 file. While mounted, `" in said
    assert said.endswith("ipfsfs seal PATH` seals it.\n")


@pytest.mark.root
def test_who_may_not_mount_there_is_told_what_would_do(
    open_to_all: Path, as_ben: Callable[..., CompletedProcess[str]]
) -> None:
    at, own = open_to_all / "roots", open_to_all / "own"
    at.mkdir(mode=0o755)
    own.mkdir()
    os.chown(own, BEN.uid, BEN.uid)
    done = as_ben("mount", "--store", own / "store", at)
    assert done.returncode == 5
    assert "may mount over a directory that this user may write to" in done.stderr
    done = as_ben("mount", "--store", at / "store", own)
    assert done.returncode == 6
    assert "To have it elsewhere: " in done.stderr
    assert "mount --store DIR PATH\n" in done.stderr
