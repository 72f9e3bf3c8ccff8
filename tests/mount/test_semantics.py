"""Promises of docs/semantics.md that no other test holds, each by a real mount."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.daemon import mounts
from tests.support.calls import cid_of, download, plain_directory, refuses
from tests.support.mounted import Mounted, clear, environment, ipfsfs
from tests.support.processes import eventually

pytestmark = pytest.mark.filesystem

REPO = "models--org--name"


def blob(mount: Mounted, data: bytes) -> Path:
    """A promised blob, made as a download makes it."""
    return download(mount, REPO, hashlib.sha256(data).hexdigest(), data)


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)


def facts(mount: Mounted, *arguments: str | Path, check: bool = True) -> Any:
    return json.loads(mount.run(*arguments, "--json", check=check).stdout)


def test_what_a_blob_was_before_it_was_written_in_place_is_kept_and_who_did_it_is_named(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    path = blob(mount, b"as downloaded")
    mount.seal()
    mount.expect_logged.append(f"{path.name}: broken promise")
    overwrite(path, b"AS")
    mount.seal()

    assert path.read_bytes() == b"AS downloaded"
    (broken,) = mount.status()["broken_promises"]
    assert broken["path"] == os.path.relpath(path, mount.path)
    assert str(os.getpid()) in broken["who"]
    (kept,) = mount.status()["quarantine"]
    assert (mount.store / "quarantine" / kept["stored_as"]).read_bytes() == b"as downloaded"
    assert kept["note"]["path"] == broken["path"]
    assert str(os.getpid()) in kept["note"]["why"]
    wrong = facts(mount, "verify", path, check=False)["wrong"]
    assert [item["kind"] for item in wrong] == ["broken_promise"]
    assert str(os.getpid()) in mount.status()["broken_promises"][0]["who"], "verify must not forget who it was"


def test_nothing_is_left_of_a_large_blob_that_could_not_be_kept(mounted: Callable[..., Mounted]) -> None:
    """Where blocks cannot be shared, only what is copied in a moment is kept: the worker's write goes first."""
    mount = mounted()
    path = blob(mount, bytes(65 << 20))
    mount.seal()
    mount.expect_logged.append(f"{path.name}: broken promise")
    overwrite(path, b"x")
    stored = mount.status()["quarantine"]
    reflinks = [item for item in stored if item["size"] == 65 << 20]
    assert stored == reflinks, "a part of a file explains nothing"


def test_h36_a_file_with_a_token_in_it_gets_no_cid_and_does_not_keep_its_directory_from_one(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    folder = mount.path / "folder"
    folder.mkdir()
    (folder / "content.txt").write_text("nothing to hide\n")
    without = facts(mount, "cid", folder)[0]["cid"]
    notes = folder / "notes.txt"
    notes.write_text(f"my token is hf_{'c4n4ry' * 6}\n")

    for chunker in ("auto", "fixed"):  # the view's own, and one that is hashed for the occasion
        assert mount.run("cid", notes, "--chunker", chunker, check=False).returncode != 0
        assert facts(mount, "cid", folder, "--chunker", chunker)[0]["cid"] == without
    assert os.getxattr(folder, "ipfs.cid").decode() == without
    said = facts(mount, "why", notes)
    assert (said["kind"], said["sealed"]) == ("secret", False)
    mount.umount()
    assert mount.run("cid", notes, check=False).returncode == 2
    found = facts(mount, "cid", folder)[0]
    assert (found["cid"], found["left_out"]) == (without, 1)
    assert facts(mount, "why", notes)["kind"] == "secret"
    mount.mount()
    notes.write_text("my token is not in here any more\n")
    assert facts(mount, "cid", folder)[0]["cid"] != without


def test_a_directorys_cid_leaves_out_secrets_scratch_and_special_files(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    for name in ("content", "both"):
        (mount.path / name / "below").mkdir(parents=True)
        (mount.path / name / "below" / "file").write_bytes(b"content")
        (mount.path / name / "link").symlink_to("below/file")
    both = mount.path / "both"
    for scratch in ("model.incomplete", "below/model.lock", "below/tmp_probe", "token", ".netrc"):
        (both / scratch).write_bytes(b"left out")
    os.mkfifo(both / "fifo")

    without = facts(mount, "cid", mount.path / "content", "--chunker", "fixed")[0]["cid"]
    for chunker in ("auto", "fixed"):  # the view's own, and one that is hashed for the occasion
        assert facts(mount, "cid", both, "--chunker", chunker)[0]["cid"] == without
    assert os.getxattr(both, "ipfs.cid").decode() == without
    mount.umount()
    assert facts(mount, "cid", both)[0]["cid"] == without
    (both / "below" / "file").write_bytes(b"CONTENT")
    assert facts(mount, "cid", both)[0]["cid"] != without


def test_the_store_is_for_its_owner_alone(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"x")
    mount.seal()
    for path in (mount.store, *mount.store.rglob("*")):
        assert path.lstat().st_mode & 0o077 == 0, path


def test_what_is_there_is_not_touched_by_mounting_and_lacks_nothing_after_it(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    """Names, bytes, times, also those of access, stay; and no name of ours is among them."""
    with plain_directory(tmp_path / "cache") as beneath:
        cache = tmp_path / "cache"
        (cache / "folder").mkdir()
        for name in ("file", "folder/file"):
            (cache / name).write_bytes(name.encode())
            os.utime(cache / name, ns=(10**18, 10**18))
        before = {name: (cache / name).stat() for name in ("file", "folder/file")}
        mount = mounted(cache)
        mount.seal()
        assert sorted(os.listdir(f"/proc/self/fd/{beneath}")) == sorted(os.listdir(cache)) == ["file", "folder"]
        for name, was in before.items():
            for now in (os.stat(name, dir_fd=beneath), (cache / name).stat()):
                assert (now.st_ino, now.st_mtime_ns, now.st_atime_ns) == (was.st_ino, was.st_mtime_ns, was.st_atime_ns)
            assert cid_of(cache / name)
        mount.umount()
        shutil.rmtree(mount.store)
        assert (cache / "folder" / "file").read_bytes() == b"folder/file", "the store only adds"
        mount.mount().seal()


def test_a_second_mount_changes_nothing_and_ci_mounts_nothing(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    mount = mounted()
    again = mount.run("mount", mount.path)
    assert "mounted already" in again.stdout
    assert mount.status()["pid"] == mount.pid
    other = tmp_path / "other"
    skipped = ipfsfs("mount", other, env=environment(CI="true"))
    assert "CI=true" in skipped.stdout
    assert not Mounted(other).mounted


def test_h22_mount_names_who_works_beneath_and_asks_before_it_covers_them(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "locked").touch()
    with (cache / "written").open("wb"), (cache / "locked").open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        try:
            found = ipfsfs("mount", cache, check=False)
            assert found.returncode == 3
            assert f"(process {os.getpid()}) writes to {cache}/written" in found.stderr
            assert f"(process {os.getpid()}) has locked {cache}/locked" in found.stderr
            assert "--force" in found.stderr
            assert mounts.view_at(cache) is None
        finally:
            clear(cache)
        mounted(cache, "--force")
        assert mounts.view_at(cache) is not None


def test_unmounting_what_is_in_use_names_who_uses_it_and_lazily_takes_nothing_from_them(
    mounted: Callable[..., Mounted],
) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"content")
    with (mount.path / "file").open("r+b", buffering=0) as file:
        refused = mount.run("umount", mount.path, check=False)
        assert refused.returncode == 3
        assert f"(process {os.getpid()}) uses {mount.path}/file" in refused.stderr
        assert "--lazy" in refused.stderr
        assert mount.mounted
        mount.umount("--lazy")
        assert (mount.path / "file").read_bytes() == b"content", "from plain disk"
        file.write(b"CON")
        assert os.pread(file.fileno(), 10, 0) == b"CONtent", "from the view"
        assert (mount.path / "file").read_bytes() == b"CONtent"
        assert "(process" in mount.run("mount", mount.path, check=False).stderr, "the view of before still writes there"
        mount.run("mount", mount.path, "--force")
    mount.seal()
    assert (mount.path / "file").read_bytes() == b"CONtent"
    said = mount.run("umount", mount.path).stdout
    assert "plain directory again" in said
    assert "is not mounted" in mount.run("umount", mount.path).stdout


def test_a_file_gets_its_cid_soon_after_its_last_writer_has_gone(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    path = mount.path / "file"
    data = b"x" * 3_000_000
    with path.open("wb") as first, path.open("r+b") as second:
        first.write(data)
        first.flush()
        second.close()
        assert cid_of(path) is None
        assert mount.seal()["open_for_writing"] == ["file"]
        assert cid_of(path) is None
    eventually(lambda: cid_of(path), "sealed")
    name = os.fsdecode(cid_of(path) or b"")
    assert name == facts(mount, "cid", path)[0]["cid"] == facts(mount, "cid", path, "--chunker", "fixed")[0]["cid"]
    why = facts(mount, "why", path)
    assert (why["sealed"], why["leaf_count"], why["leased"]) == (True, 3, True)
    os.rename(path, mount.path / "renamed")
    assert os.fsdecode(cid_of(mount.path / "renamed") or b"") == name, "a new name is no new content"
    with (mount.path / "renamed").open("ab") as file:
        file.write(b"more")
        file.flush()
        assert cid_of(mount.path / "renamed") is None
    eventually(lambda: cid_of(mount.path / "renamed"), "sealed with what was appended")
    with (mount.path / "renamed").open("r+b", buffering=0) as file:
        file.write(b"other")
        eventually(lambda: mount.status()["sealed"] == 0, "sealed no longer")
    # Who asks for the CID of a file, or opens it, has it sealed by that.
    eventually(lambda: mount.status()["sealed"] == 1, "sealed after it was overwritten")
    refuses(errno.EPERM, lambda: os.setxattr(mount.path / "renamed", "ipfs.cid", b"bafy"))
    assert "ipfs.cid" not in os.listxattr(mount.path / "renamed"), "what copies attributes must not try this one"


def test_a_name_cannot_write_a_line_of_the_log(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    repo = "models--a\n2026-01-01T00:00:00 ERROR all is lost\x1b[2J--b"
    mount.expect_logged.append("sha256 is .* not what the name promises")
    refuses(errno.EIO, lambda: download(mount, repo, hashlib.sha256(b"").hexdigest(), b"something else"))
    (line,) = [line for line in mount.log().splitlines() if "all is lost" in line]
    assert r"models--a\n2026" in line
    assert line.isprintable()


def test_a_file_that_lost_a_name_and_got_a_new_one_is_sealed(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    path = mount.path / "one"
    path.write_bytes(b"content")
    (mount.path / "two").hardlink_to(path)
    (mount.path / "two").unlink()
    path.rename(mount.path / "three")
    mount.seal()
    assert cid_of(mount.path / "three")
