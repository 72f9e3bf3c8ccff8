"""What the commands advise: of the right file, true where the user stands, and a command that can be pasted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.errors import InUse
from ipfsfs.fuse import mountpoint
from tests.support.mounted import Mounted, ipfsfs
from tests.support.users import User, program_within_reach

BEN: Final = User(4_002)


def test_umount_from_inside_the_view_names_the_shell_and_not_itself(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "hub").mkdir()
    with subprocess.Popen(["sleep", "60"], cwd=mount.path / "hub") as shell:
        try:
            done = ipfsfs("umount", mount.path, cwd=mount.path / "hub", check=False)
        finally:
            shell.kill()
    assert done.returncode == 3
    assert f"sleep (process {shell.pid}) has its working directory in {mount.path}/hub\n" in done.stderr
    assert done.stderr.count("(process ") == 1
    assert f"ipfsfs umount --lazy {mount.path}\n" in done.stderr
    assert ipfsfs("umount", "..", cwd=mount.path / "hub").returncode == 0, "nothing else is in the way"


@pytest.mark.root
def test_umount_names_what_is_mounted_in_the_view(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    inner, view = mount.path / "inner disk", mount.path / "view"
    inner.mkdir()
    view.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "inner", inner], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "inner", view], check=True)
    try:
        ipfsfs("mount", "--store", tmp_path / "store", view)
        try:
            done = ipfsfs("umount", mount.path, check=False)
            assert done.returncode == 3
            assert f"{mount.path} is in use:\n  {view} is mounted in it\n  {inner} is mounted in it\n" in done.stderr
            assert f"ipfsfs umount {view} && umount {view} && umount '{inner}'\n" in done.stderr
            assert "End these processes" not in done.stderr
        finally:
            ipfsfs("umount", view)
    finally:
        subprocess.run(["umount", inner], check=True)
        subprocess.run(["umount", view], check=True)
    assert ipfsfs("umount", mount.path).returncode == 0


def test_fsck_of_a_directory_without_a_store_says_that_there_is_none(tmp_path: Path) -> None:
    done = ipfsfs("fsck", tmp_path, check=False)
    assert done.returncode == 5
    assert f"{tmp_path} has no store at {tmp_path}.ipfsfs" in done.stderr
    assert "--store" in done.stderr


def test_what_is_in_use_is_exit_code_3(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    done = ipfsfs("fsck", mount.path, check=False)
    assert done.returncode == 3, done.stderr
    assert "its store is in use" in done.stderr
    with (mount.path / "file").open("rb"):
        done = ipfsfs("umount", mount.path, check=False)
        assert done.returncode == 3, done.stderr
        with pytest.raises(InUse):  # as where the daemon cannot be asked
            mountpoint.unmount(mount.path, lazy=False)


def test_a_directory_is_named_by_its_path_before_it_is_published(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "a").mkdir()
    (mount.path / "a" / "file").write_bytes(b"content")
    root = ipfsfs("cid", mount.path / "a").stdout.strip()
    for words in (("ls", root), ("stat", root), ("cat", f"{root}/file"), ("pin", "add", root)):
        done = ipfsfs(*words, "--view", mount.path, check=False)
        assert done.returncode == 1
        assert f"no origin gives {root}" in done.stderr
        assert "If it is a directory of this machine, name it by its path" in done.stderr
    assert "file" in ipfsfs("ls", mount.path / "a").stdout


def test_mount_says_of_what_is_no_directory_just_that(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = ipfsfs("mount", tmp_path / "file", check=False)
    assert (done.returncode, done.stderr) == (2, f"ipfsfs: {tmp_path}/file is not a directory\n")


@pytest.mark.root
def test_cid_names_the_file_that_may_not_be_read(open_to_all: Path) -> None:
    tree = open_to_all / "models"
    tree.mkdir(mode=0o755)
    (tree / "file").touch(mode=0o600)
    with program_within_reach(open_to_all) as program:
        for path in (tree / "file", tree):
            done = BEN.command([program["python"], "-m", "ipfsfs", "cid", path], PYTHONPATH=program["PYTHONPATH"])
            assert (done.returncode, done.stderr) == (1, f"ipfsfs: {tree}/file: Permission denied\n")


def test_why_with_leaves_does_not_advise_to_list_them(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    mount.seal()
    assert "; --leaves lists them" in mount.run("why", mount.path / "file").stdout
    said = mount.run("why", "--leaves", mount.path / "file").stdout
    assert "lists them" not in said
    assert "0          7  baf" in said


@pytest.mark.parametrize(
    ("typed", "meant"), [("stauts", "'status' or 'stat'"), ("unmount", "'umount' or 'mount'"), ("xyz", "")]
)
def test_a_mistyped_command_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    done = ipfsfs(typed, check=False)
    assert done.returncode == 2
    assert f"No such command '{typed}'.{meant and f' Did you mean {meant}?'}\n" in done.stderr
    assert "Traceback" not in done.stderr
