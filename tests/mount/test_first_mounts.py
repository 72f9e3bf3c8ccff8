"""The first mount of a directory: which it is where none is named, and what is left when it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from tests.support.mounted import clear, environment, ipfsfs
from tests.support.users import NOBODY, program_within_reach

WITHOUT_RIGHT = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
_NO_DEVICE = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
WITHOUT_DEVICE = ("unshare", "-m", "sh", "-c", _NO_DEVICE, "sh")


def mount(*words: str | Path, by: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Mount, by another command before it."""
    command = [*by, sys.executable, "-m", "ipfsfs", "mount", *map(str, words)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


class TestNoPath:
    @pytest.mark.parametrize("named", [True, False])
    def test_it_is_the_cache_of_the_clients_and_said_to_be(self, tmp_path: Path, named: bool) -> None:
        at = tmp_path / ("elsewhere" if named else ".cache/huggingface")
        at.parent.mkdir(exist_ok=True)
        told = {"HOME": str(tmp_path), "HF_HOME": str(at) if named else "", "XDG_CACHE_HOME": ""}
        try:
            done = ipfsfs("mount", env=environment(**told))
            why = "HF_HOME says so" if named else "the usual place of a Hugging Face cache"
            assert done.stderr == f"ipfsfs: no PATH is named: {at}, {why}\n"
            assert mounts.view_at(at) is not None
            assert f"ipfsfs umount {at}" in done.stdout
            ipfsfs("umount", at)
        finally:
            clear(at)

    def test_in_ci_nothing_is_mounted(self, tmp_path: Path) -> None:
        done = ipfsfs("mount", env=environment(HF_HOME=str(tmp_path / "cache"), CI="true"))
        assert f"not mounting {tmp_path}/cache: " in done.stdout
        assert not (tmp_path / "cache").exists()

    def test_a_script_is_told_which_it_is(self, tmp_path: Path) -> None:
        at = tmp_path / "cache"
        told = environment(HF_HOME=str(at))
        skipped = json.loads(ipfsfs("mount", "--json", env={**told, "CI": "true"}).stdout)
        assert (skipped["mountpoint"], skipped["mounted"], "CI=true" in skipped["skipped"]) == (str(at), False, True)
        try:
            done = json.loads(ipfsfs("mount", "--json", env=told).stdout)
            assert (done["mountpoint"], done["mounted"], done["new"]) == (str(at), True, True)
            ipfsfs("umount", at)
        finally:
            clear(at)

    @pytest.mark.parametrize("words", [[], [".cache/huggingface"]])
    def test_a_home_without_caches_gets_a_place_for_them_that_is_its_own(
        self, tmp_path: Path, words: list[str]
    ) -> None:
        at = tmp_path / ".cache" / "huggingface"
        told = environment(HOME=str(tmp_path), HF_HOME="", XDG_CACHE_HOME="")
        try:
            ipfsfs("mount", *words, env=told, cwd=tmp_path)
            assert at.parent.stat().st_mode & 0o777 == 0o700
            assert mounts.view_at(at) is not None
            assert sorted(os.listdir(at.parent)) == ["huggingface", "huggingface.ipfsfs"]
            ipfsfs("umount", at)
        finally:
            clear(at)

    def test_a_place_that_is_named_is_not_made_with_all_above_it(self, tmp_path: Path) -> None:
        told = environment(HOME=str(tmp_path), HF_HOME=str(tmp_path / "disk" / "cache"))
        done = ipfsfs("mount", env=told, check=False)
        assert done.returncode == 2
        assert f"mkdir -p {tmp_path}/disk/cache" in done.stderr
        assert os.listdir(tmp_path) == []

    def test_a_cache_that_programs_use_instead_is_named(self, tmp_path: Path) -> None:
        """Refused here, for it is said before anything is mounted."""
        told = environment(
            HF_HOME=str(tmp_path / "disk" / "cache"),
            HF_HUB_CACHE=str(tmp_path / "else where"),
            HF_DATASETS_CACHE=str(tmp_path / "disk" / "cache" / "datasets"),
        )
        for words in ([], ["disk/cache"]):
            said = ipfsfs("mount", *words, env=told, cwd=tmp_path, check=False).stderr
            assert f"HF_HUB_CACHE={tmp_path}/else where: programs use that directory instead." in said
            assert f"ipfsfs mount '{tmp_path}/else where'\n" in said
            assert "HF_DATASETS_CACHE" not in said
        assert "HF_HUB_CACHE" not in ipfsfs("mount", tmp_path / "no" / "way", env=told, check=False).stderr


class TestFailures:
    @pytest.mark.root
    def test_without_the_device_it_says_what_doctor_says_and_leaves_nothing(self, tmp_path: Path) -> None:
        done = mount(tmp_path / "cache", by=WITHOUT_DEVICE)
        assert (done.returncode, done.stderr) == (
            5,
            "ipfsfs: cannot open /dev/fuse: No such file or directory\n"
            "To mend it: modprobe fuse; for a container: --device /dev/fuse --cap-add SYS_ADMIN\n",
        )
        assert os.listdir(tmp_path) == []

    @pytest.mark.root
    def test_without_the_right_to_mount_too(self, tmp_path: Path) -> None:
        done = mount(tmp_path / "cache", by=WITHOUT_RIGHT)
        assert (done.returncode, done.stderr) == (
            5,
            f"ipfsfs: cannot mount over {tmp_path}/cache: Operation not permitted\n"
            "To mend it: start the container with --cap-add SYS_ADMIN\n",
        )
        assert os.listdir(tmp_path) == []

    @pytest.mark.root
    def test_an_ordinary_user_who_may_not_open_the_device_is_told_how_to_open_it(self, open_to_all: Path) -> None:
        home = open_to_all / "home"
        home.mkdir()
        os.chown(home, NOBODY.uid, NOBODY.uid)
        with program_within_reach(open_to_all) as program, closed_device():
            words = ["env", f"HOME={home}", f"PYTHONPATH={program['PYTHONPATH']}", program["python"], "-m", "ipfsfs"]
            done = NOBODY.command([*words, "mount", home / "cache"])
            doctor = NOBODY.command([*words, "doctor"]).stdout
        fix = "as root: chmod 0666 /dev/fuse, as distributions have it (a udev rule keeps it so)"
        assert done.returncode == 5
        assert f"failed to open /dev/fuse: Permission denied\nTo mend it: {fix}\n" in done.stderr
        assert f"-> {fix}" in doctor
        assert not [name for name in os.listdir(home) if name != ".local"]

    @pytest.mark.parametrize("option", ["--metrics", "--serve"])
    def test_where_an_address_is_taken_no_store_is_left(self, tmp_path: Path, option: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            words = [option, f"http://{address}"] if option == "--metrics" else [option, address, "--open"]
            done = mount(tmp_path / "cache", "--store", tmp_path / "a" / "new" / "store", *words)
        assert done.returncode != 0
        assert os.listdir(tmp_path) == []

    def test_a_store_that_was_there_stays(self, tmp_path: Path) -> None:
        at = tmp_path / "cache"
        try:
            mount(at)
            (at / "file").write_bytes(b"content")
            sealed = ipfsfs("cid", at / "file").stdout
            ipfsfs("umount", at)
            with socket.create_server(("127.0.0.1", 0)) as taken:
                failed = mount(at, "--metrics", f"http://127.0.0.1:{taken.getsockname()[1]}")
            assert failed.returncode != 0
            ipfsfs("fsck", at)
            assert (at.with_name("cache.ipfsfs") / "index").exists()
            mount(at)
            assert ipfsfs("cid", at / "file").stdout == sealed
            ipfsfs("umount", at)
        finally:
            clear(at)

    def test_a_directory_of_something_else_that_is_named_as_the_store_stays_as_it_was(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        photos.mkdir(0o755)
        (photos / "photo.jpg").touch()
        done = mount(tmp_path / "cache", "--store", photos)
        assert done.returncode == 6
        assert "is no store of ipfsfs, and not empty: it holds 'photo.jpg'" in done.stderr
        assert os.listdir(photos) == ["photo.jpg"]
        assert photos.stat().st_mode & 0o777 == 0o755

    def test_an_empty_directory_that_is_named_as_the_store_stays_and_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / "store").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            metrics = f"http://127.0.0.1:{taken.getsockname()[1]}"
            mount(tmp_path / "cache", "--store", tmp_path / "store", "--metrics", metrics)
        assert os.listdir(tmp_path) == ["store"]
        assert os.listdir(tmp_path / "store") == []


@contextmanager
def closed_device() -> Iterator[None]:
    """The device for root alone, as in a container that forgot to open it."""
    fuse = Path("/dev/fuse")
    before = fuse.stat().st_mode & 0o777
    fuse.chmod(0o600)
    try:
        yield
    finally:
        fuse.chmod(before)
