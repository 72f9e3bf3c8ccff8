"""`ipfsfs ls`: what is in the cache, with a view and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import Mounted, alone, ipfsfs
from tests.support.users import User, program_within_reach

ANNA = User(4_001)
SHA = "a" * 64
HOSTILE = "models--org--\x1b[2J\nname"


def fill(root: Path) -> None:
    for name in ("models--org--name", "datasets--org--other", HOSTILE):
        (root / "hub" / name / "blobs").mkdir(parents=True)
        (root / "hub" / name / "blobs" / SHA).write_bytes(b"x" * 1000)
    (root / "hub" / "models--org--name" / "blobs" / ("b" * 64)).write_bytes(b"y" * 500)
    (root / "token").write_text("hf_canary")


def listed(*arguments: str | Path) -> dict[str, tuple[str, int, int]]:
    (found,) = json.loads(ipfsfs("ls", "--json", *arguments).stdout)
    return {entry["name"]: (entry["kind"], entry["here"], entry["shared"]) for entry in found["entries"]}


def test_the_daemon_and_the_plain_directory_tell_the_same(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    fill(mount.path)
    wanted = {
        "org/name": ("model", 1500, 1000), "org/other": ("dataset", 1000, 1000),
        "org/\x1b[2J\nname": ("model", 1000, 1000),
    }  # fmt: skip
    assert listed("--view", mount.path) == wanted
    assert listed("--view", mount.path / "hub") == wanted, "by a path in it"
    shown = ipfsfs("ls", "--view", mount.path).stdout
    assert "\x1b" not in shown
    assert "org/\\x1b[2J\\nname" in shown
    names = [line.split()[0] for line in shown.splitlines()[3:]]
    assert names[0] == "org/name", "most bytes first"
    assert "canary" not in shown
    assert "token" not in shown
    mount.umount()
    assert listed("--view", mount.path) == wanted


@pytest.mark.root
def test_without_a_view_it_is_the_cache_of_the_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "home")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (found,) = json.loads(alone([], "ls", "--json").stdout)
    assert (found["path"], found["mounted"], found["here"]) == (str(tmp_path / "home"), False, 3500)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nowhere"))
    refused = alone([], "ls")
    assert refused.returncode == 2
    assert f"there is no cache at {tmp_path}/nowhere" in refused.stderr


@pytest.mark.root
def test_other_users_are_told_of_what_they_may_read(open_to_all: Path, mounted: Callable[..., Mounted]) -> None:
    cache = open_to_all / "cache"
    cache.mkdir()
    fill(cache)
    mount = mounted(cache, "--allow-other")
    (cache / "hub" / "datasets--org--other").chmod(0o700)
    with program_within_reach(open_to_all) as program:
        command = [program["python"], "-m", "ipfsfs", "ls", "--json", "--view", cache]
        done = ANNA.command(command, PYTHONPATH=program["PYTHONPATH"], HOME=str(open_to_all))
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)
        assert sorted(entry["name"] for entry in found["entries"]) == sorted(["org/name", "org/\x1b[2J\nname"])
        assert found["unread"] == 1
        assert {entry["here"] for entry in found["entries"]} == {None}, "what is a placeholder cannot be seen from here"
        mount.umount()
        mount.arguments = ()
        mount.mount()
        done = ANNA.command(command, PYTHONPATH=program["PYTHONPATH"], HOME=str(open_to_all))
        assert done.returncode == 5
        assert "another user's view" in done.stderr
        assert json.loads(done.stdout)["error"]["kind"] == "MountError"
