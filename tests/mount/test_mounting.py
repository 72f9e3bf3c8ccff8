"""What `mount` says where it does not do what was asked, or does more: a directory is made, another view is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from tests.support.mounted import Mounted, clear, environment, ipfsfs


@pytest.mark.parametrize("way", ["in the background", "--foreground"])
def test_a_mount_that_is_refused_leaves_no_directory_behind(tmp_path: Path, way: str) -> None:
    arguments = [way] if way.startswith("--") else []
    cache = tmp_path / "cache"
    in_itself = ("--store", cache / "store")  # which is refused
    done = ipfsfs("mount", *arguments, cache, *in_itself, check=False)
    assert done.returncode == 5
    assert "the store lies in it" in done.stderr
    assert list(tmp_path.iterdir()) == []

    cache.mkdir()
    assert ipfsfs("mount", *arguments, cache, *in_itself, check=False).returncode == 5
    assert cache.is_dir(), "it was there before"

    assert ipfsfs("mount", *arguments, tmp_path / ("n" * 256), check=False).returncode == 2


def test_a_directory_that_was_made_is_said_to_be(tmp_path: Path) -> None:
    at = tmp_path / "cahce"
    try:
        said = ipfsfs("mount", at).stdout
        assert "(The directory was not there, and was made. If its path is mistyped: " in said
        assert f"ipfsfs umount {at})\n" in said
        ipfsfs("umount", at)
        again = ipfsfs("mount", "--json", at)
        assert "made" not in again.stderr
        ipfsfs("umount", at)
        at.rmdir()
        assert f"{at} was not there, and was made\n" in ipfsfs("mount", "--json", at).stderr
    finally:
        clear(at)


def test_only_the_last_part_of_a_path_is_made(tmp_path: Path) -> None:
    """The others are there, or the path is mistyped."""
    (tmp_path / "models").mkdir()
    for mistyped in ("moduls/cache", "moduls/hub/cache"):
        done = ipfsfs("mount", tmp_path / mistyped, check=False)
        assert done.returncode == 2
        assert f"{tmp_path}/moduls does not exist" in done.stderr
        assert f"mkdir -p {tmp_path / mistyped}" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_no_mount_cuts_a_view_off_whatever_force_says(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """Over its store, in that, over a directory above both; and over a store of which no view is mounted."""
    (tmp_path / "above").mkdir()
    (tmp_path / "above" / "cache").mkdir()
    mount = mounted(tmp_path / "above" / "cache")
    (mount.path / "file").write_bytes(b"content")

    def refused(path: Path, *arguments: str | Path) -> str:
        done = ipfsfs("mount", "--force", *arguments, path, check=False)
        assert done.returncode == 5, done.stdout
        assert "Traceback" not in done.stderr
        assert mounts.view_at(path) is None
        return done.stderr

    assert f"it is the store of the view of {mount.path}" in refused(mount.store)
    assert f"it is the store of the view of {mount.path}" in refused(mount.store / "log")
    said = refused(tmp_path / "above", "--store", tmp_path / "other")
    assert f"that would cut off the view of {mount.path}" in said
    assert f"ipfsfs umount {mount.path}" in said
    (tmp_path / "second").mkdir()
    assert f"would lie in the view of {mount.path}" in refused(tmp_path / "second", "--store", mount.path / "store")
    assert (mount.path / "file").read_bytes() == b"content"
    assert mount.status()["pid"] == mount.pid
    mount.umount()
    assert f"{mount.store} is the store of a view" in refused(mount.store)
    assert f"{mount.store} is the store of a view" in refused(mount.store / "log")
    assert not Path(f"{mount.store}.ipfsfs").exists()


def test_a_second_mount_names_what_was_asked_for_and_is_not_so(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    said = ipfsfs("mount", mount.path).stdout
    assert said == f"{mount.path} is mounted already, with the store {mount.store}.\n"
    options = ["--chunker", "fixed", "--restart", "--allow-other", "--store", str(tmp_path / "other")]
    said = ipfsfs("mount", *options, mount.path).stdout
    for part in ("--chunker fixed", "--restart", "--allow-other", f"--store {tmp_path}/other"):
        assert f"  {part} is not in force" in said
    assert f"ipfsfs umount {mount.path}" in said
    hidden = {"--peers": "127.0.0.1:4780", "--share": "all", "--native-from": "1G", "--hub": "none"}
    said = ipfsfs("mount", "--open", "--stock-init", *sum(hidden.items(), ()), mount.path).stdout
    assert said.count(" is not in force") == 6
    assert ipfsfs("mount", "--chunker", "auto", "--store", mount.store, mount.path).stdout.count("\n") == 1


def test_of_mounts_at_the_same_time_one_mounts_and_the_others_find_it_mounted(tmp_path: Path) -> None:
    """As the jobs of an array do."""
    at = tmp_path / "cache"
    words = [sys.executable, "-m", "ipfsfs", "mount", str(at)]
    try:
        started = [
            subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(3)
        ]
        said = sorted(mount.communicate(timeout=60)[0] for mount in started)
        assert [mount.returncode for mount in started] == [0, 0, 0], said
        already = f"{at} is mounted already, with the store {at}.ipfsfs.\n"
        assert said[:2] == [already, already]
        assert said[2].startswith(f"{at} is mounted.\n")
        ipfsfs("umount", at)
    finally:
        clear(at)


def test_a_mount_inside_a_view_makes_no_directory_in_it(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    done = ipfsfs("mount", mount.path / "hub", check=False)
    assert done.returncode == 5
    assert f"lies in the view of {mount.path}, which covers it already" in done.stderr
    assert list(mount.path.iterdir()) == []


def test_a_mount_over_a_link_to_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    done = ipfsfs("mount", tmp_path / "link", check=False)
    assert done.returncode == 2
    assert f"{tmp_path}/link is a link to nothing, which does not exist" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
