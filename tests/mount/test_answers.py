"""What a command answers: soon, in one form for scripts, and with an exit code that says whether all is well."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.cli.scripts import VERSION
from tests.support.calls import refuses
from tests.support.mounted import Mounted, environment, ipfsfs
from tests.support.promised import NAME, RIGHT, WRONG, blobs, download

BUT_WHERE_NEEDED = {"trio", "h11", "rich", "ipfsfs.store.recovery", "ipfsfs.origins.registry", "ipfsfs.cli.doctor"}
"""What takes long to load: an event loop, origins, bars, the databases, other commands."""


@pytest.mark.parametrize("words", [("status",), ("status", "PATH"), ("why", "PATH/file"), ("ls", "--view", "PATH"),
                                   ("ls", "PATH"), ("umount", "--lazy", "PATH")])  # fmt: skip
def test_who_asks_a_daemon_loads_nothing_that_is_not_needed_for_that(
    mounted: Callable[..., Mounted], words: tuple[str, ...]
) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    named = [word.replace("PATH", str(mount.path)) for word in words]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ipfsfs", *named],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode <= 1  # as `status` where another view, that of a test beside this one, has its troubles
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "ipfsfs.daemon.mounts" in loaded
    assert not BUT_WHERE_NEEDED & loaded


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        (("why", "PATH/nothing"), "UsageError", 2),
        (("why", "PATH", "--no-such-option"), "UsageError", 2),
        (("no-such-command",), "UsageError", 2),
        (("seal", "PATH"), "MountError", 5),
        (("quarantine", "rm"), "UsageError", 2),
    ],
)
def test_an_error_is_json_for_who_asks_for_that_and_words_on_stderr_for_all(
    tmp_path: Path, words: tuple[str, ...], kind: str, code: int
) -> None:
    named = [word.replace("PATH", str(tmp_path)) for word in words]
    in_words, done = ipfsfs(*named, check=False), ipfsfs(*named, "--json", check=False)
    assert (in_words.stdout, in_words.returncode, done.returncode) == ("", code, code)
    assert done.stderr.replace(" --json", "") == in_words.stderr
    said = json.loads(done.stdout)
    assert said["json_version"] == VERSION
    assert (said["error"]["kind"], said["error"]["exit_code"]) == (kind, code)
    assert said["error"]["message"] in done.stderr


def test_mount_and_umount_tell_scripts_what_they_did(tmp_path: Path, mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    again = json.loads(ipfsfs("mount", mount.path, "--json", "--restart").stdout)
    assert (again["mounted"], again["new"], again["pid"]) == (True, False, mount.pid)
    assert again["differing"] == ["--restart is not in force."]
    gone = json.loads(ipfsfs("umount", mount.path, "--json").stdout)
    assert (gone["was_mounted"], gone["pid"], gone["not_here"]) == (True, None, [])
    new = json.loads(ipfsfs("mount", mount.path, "--json").stdout)
    mount.pid = new["pid"]
    assert (new["mounted"], new["new"], new["store"], new["degraded"]) == (True, True, str(mount.store), "")
    assert new["pid"] == mount.status()["pid"]
    skipped = ipfsfs("mount", tmp_path / "other", "--json", env=environment(CI="true"))
    said = json.loads(skipped.stdout)
    assert (said["mounted"], "CI=true" in said["skipped"]) == (False, True)


def test_status_is_a_list_with_and_without_a_path_and_lists_all_fields_of_what_is_not_mounted(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    (named,) = json.loads(ipfsfs("status", mount.path, "--json").stdout)
    (among,) = [one for one in json.loads(ipfsfs("status", "--json", check=False).stdout) if one["pid"] == mount.pid]
    mount.umount()
    (gone,) = json.loads(ipfsfs("status", mount.path, "--json").stdout)
    assert list(named) == list(among) == list(gone)
    assert (named["state"], gone["state"], gone["sealed"]) == ("mounted", "not mounted", None)


def test_a_broken_promise_has_status_exit_with_1_and_says_the_way_out_until_it_is_taken(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted(None, "--hub", "none")
    mount.expect_logged.append("broken promise: written in place")
    path = download(blobs(mount), RIGHT)
    mount.seal()
    assert ipfsfs("status", mount.path).returncode == 0
    overwrite(path)
    mount.seal()
    done = ipfsfs("status", mount.path, check=False)
    assert done.returncode == 1
    assert f"what to do       1 file has wrong content: ipfsfs restore {path}\n" in done.stdout
    assert f"ipfsfs quarantine ls --view {mount.path}\n" in done.stdout
    said = ipfsfs("why", path).stdout
    assert "sealed  yes, as it is now, which is not what its name promises" in said
    assert f"ipfsfs restore {path}" in ipfsfs("quarantine", "ls", "--view", mount.path).stdout
    ipfsfs("restore", path)
    assert path.read_bytes() == RIGHT
    assert ipfsfs("status", mount.path).returncode == 0
    assert "sealed  yes\n" in ipfsfs("why", path).stdout


def test_good_bytes_in_quarantine_come_back_to_a_name_that_is_gone_and_can_be_removed(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted(None, "--hub", "none")
    mount.expect_logged.append("broken promise: written in place")
    path = download(blobs(mount), RIGHT)
    mount.seal()
    overwrite(path)
    path.unlink()
    (item,) = quarantined(mount)
    assert (item["path"], item["way"], item["size"]) == (str(path), "restore", len(RIGHT))
    assert Path(item["file"]).read_bytes() == RIGHT
    ipfsfs("restore", path)
    assert path.read_bytes() == RIGHT
    (item,) = quarantined(mount)
    assert item["way"] == "restored"
    refused = ipfsfs("quarantine", "rm", "../ledger", "--view", mount.path, check=False)
    assert refused.returncode == 2
    assert "nothing in the quarantine is called '../ledger'" in refused.stderr
    mount.umount()  # without a daemon the same is said and done
    assert [one["stored_as"] for one in quarantined(mount)] == [item["stored_as"]]
    assert "Removed 1 file, 400.0 kB." in ipfsfs("quarantine", "rm", "--all", "--view", mount.path).stdout
    assert quarantined(mount) == []
    assert os.listdir(mount.store / "quarantine") == []


def test_what_a_path_in_quarantine_does_not_promise_can_be_copied_and_removed(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted(None, "--hub", "none")
    mount.expect_logged.append("not what the name promises")
    refuses(errno.EIO, lambda: download(blobs(mount), WRONG))
    (item,) = quarantined(mount)
    assert (item["way"], Path(item["file"]).read_bytes()) == ("copy", WRONG)
    assert f"cp {item['file']} NEW-NAME" in ipfsfs("quarantine", "ls", "--view", mount.path).stdout
    done = json.loads(ipfsfs("quarantine", "rm", item["stored_as"], "--view", mount.path, "--json").stdout)
    assert [one["stored_as"] for one in done["items"]] == [item["stored_as"]]
    assert quarantined(mount) == []
    lost = ipfsfs("restore", blobs(mount) / NAME, check=False)
    assert "Download it again." in lost.stdout
    assert "rm " not in lost.stdout


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"!")


def quarantined(mount: Mounted) -> list[dict[str, Any]]:
    """What `quarantine ls` says."""
    found: list[dict[str, Any]] = json.loads(ipfsfs("quarantine", "ls", "--view", mount.path, "--json").stdout)["items"]
    return found


def test_why_and_cid_say_which_reason_it_is_that_a_file_has_no_seal(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "token").write_text("x")
    with (mount.path / "written").open("wb") as file:
        file.write(b"x")
        file.flush()
        assert (
            "sealed  no: not yet: a program has it open for writing\n" in ipfsfs("why", mount.path / "written").stdout
        )
        refused = ipfsfs("cid", mount.path / "written", check=False)
        assert "has no CID yet: not yet: a program has it open for writing" in refused.stderr
    assert "sealed  no: a secret is never sealed\n" in ipfsfs("why", mount.path / "token").stdout
    assert "is a secret: it never gets a CID" in ipfsfs("cid", mount.path / "token", check=False).stderr
    ipfsfs("seal", mount.path)
    assert "sealed  yes\n" in ipfsfs("why", mount.path / "written").stdout
