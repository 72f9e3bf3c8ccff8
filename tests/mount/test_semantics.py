"""Promises of docs/semantics.md that no other test holds, each by a real mount."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.mounted import Mounted

REPO = "hub/models--org--name"


def blob(mount: Mounted, data: bytes) -> Path:
    """A promised blob, made as a download makes it."""
    blobs = mount.path / REPO / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / "download.incomplete").write_bytes(data)
    return (blobs / "download.incomplete").rename(blobs / hashlib.sha256(data).hexdigest())


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
    assert facts(mount, "cid", folder)[0] == {"path": str(folder), "cid": without, "left_out": 1}
    assert facts(mount, "why", notes)["kind"] == "secret"
    mount.mount()
    notes.write_text("my token is not in here any more\n")
    assert facts(mount, "cid", folder)[0]["cid"] != without


def test_the_store_is_for_its_owner_alone(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    (mount.path / "file").write_bytes(b"x")
    mount.seal()
    for path in (mount.store, *mount.store.rglob("*")):
        assert path.lstat().st_mode & 0o077 == 0, path
