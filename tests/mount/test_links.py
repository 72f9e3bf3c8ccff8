"""Paths that users name to the commands, and whose last part is a link: all commands mean the same by them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.unixfs import cid, file
from tests.support.mounted import Mounted, ipfsfs

COMMIT = "a" * 40
DATA = b"as downloaded"


def facts(*arguments: str | Path) -> Any:
    return json.loads(ipfsfs(*arguments, "--json").stdout)


def attribute(path: Path) -> str:
    """The CID by the extended attribute, as getxattr tells it: of what a link leads to."""
    return os.fsdecode(os.getxattr(path, "ipfs.cid"))


def link_cid(link: Path) -> str:
    return cid.to_text(file.symlink(os.fsencode(os.readlink(link)))[0])


def snapshot(mount: Mounted) -> tuple[Path, Path]:
    """A file of a snapshot, which is a link as the hub's client makes it, and the blob that it leads to."""
    repository = mount.path / "hub" / "models--org--name"
    blob = repository / "blobs" / hashlib.sha256(DATA).hexdigest()
    named = repository / "snapshots" / COMMIT / "config.json"
    for path in (blob, named):
        path.parent.mkdir(parents=True)
    blob.write_bytes(DATA)
    named.symlink_to(f"../../blobs/{blob.name}")
    return named, blob


def test_all_commands_say_of_a_path_in_a_snapshot_what_its_attribute_says(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    named, blob = snapshot(mount)
    assert facts("seal", named)["failed"] == 0
    wanted = attribute(named)
    assert wanted == cid.to_text(cid.raw_cid(hashlib.sha256(DATA).digest()))
    for _ in range(2):
        assert facts("cid", named)[0]["cid"] == wanted
        assert facts("cid", "--chunker", "fixed", named)[0]["cid"] == wanted
        assert facts("why", named)["cid"] == wanted
        assert ipfsfs("why", named).stdout.splitlines()[0].split() == ["path", str(blob)]
        assert facts("verify", named)["files"] == 1
        if mount.mounted:
            mount.umount()


def test_the_link_itself_is_meant_when_asked_for(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    named, _ = snapshot(mount)
    mount.seal()
    for _ in range(2):
        assert facts("cid", "--no-dereference", named)[0]["cid"] == link_cid(named)
        assert facts("why", "--no-dereference", named)["what"] == f"a symlink to {os.readlink(named)}"
        if mount.mounted:
            mount.umount()


def test_links_within_a_directory_are_part_of_it(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    named, _ = snapshot(mount)
    (tmp_path / "link").symlink_to(named.parent)
    mount.seal()
    wanted = facts("cid", named.parent)[0]["cid"]
    assert facts("cid", tmp_path / "link")[0]["cid"] == wanted
    assert facts("cid", "--chunker", "fixed", tmp_path / "link")[0]["cid"] == wanted
    named.unlink()
    named.symlink_to("elsewhere")
    assert facts("cid", named.parent)[0]["cid"] != wanted


def test_a_link_that_leads_out_of_the_view_means_what_is_there(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    outside = tmp_path / "outside"
    outside.write_bytes(DATA)
    (mount.path / "link").symlink_to(outside)
    assert facts("cid", mount.path / "link")[0]["cid"] == cid.to_text(cid.raw_cid(hashlib.sha256(DATA).digest()))
    for command in ("why", "verify", "seal"):
        done = ipfsfs(command, mount.path / "link", check=False)
        assert done.returncode == 5, command
        assert f"{outside} is in no mounted view" in done.stderr


def test_a_secret_is_one_by_whatever_link_it_is_named(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    (mount.path / "token").write_bytes(b"short")
    (tmp_path / "token").write_bytes(b"short")
    for number, target in enumerate((mount.path / "token", tmp_path / "token", Path("token"))):
        link = mount.path / f"innocent{number}"
        link.symlink_to(target)
        done = ipfsfs("cid", link, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "secret" in done.stderr
    assert facts("why", mount.path / "innocent0")["kind"] == "secret"
    (mount.path / "token.txt").symlink_to("config.json")
    (mount.path / "config.json").write_bytes(DATA)
    mount.seal()
    (found,) = facts("cid", mount.path / "token.txt")
    assert (found["cid"], found["left_out"]) == (attribute(mount.path / "token.txt"), 0)


@pytest.mark.parametrize("target", ["missing", "loop", "not-a-directory/x"])
def test_a_link_to_nothing_is_wrong_usage_but_has_a_cid(mounted: Callable[..., Mounted], target: str) -> None:
    mount = mounted()
    (mount.path / "loop").symlink_to("loop")
    (mount.path / "not-a-directory").write_bytes(b"")
    link = mount.path / "link"
    link.symlink_to(target)
    for command in ("cid", "why", "verify", "seal"):
        done = ipfsfs(command, link, check=False)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert f"{link}, a link to {target}: " in done.stderr
    assert facts("cid", "--no-dereference", link)[0]["cid"] == link_cid(link)
