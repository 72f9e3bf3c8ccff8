"""Which files of the Hub blobs are, by links that are read once for many."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ipfsfs.exchange import linked
from ipfsfs.exchange.linked import LinkedFiles
from ipfsfs.exchange.whereabouts import whereabouts
from ipfsfs.origins.hub_file import HubFile

COMMIT = "a" * 40
OTHER = "b" * 40


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def add(root: Path, path: str, commit: str = COMMIT, leads_to: str = "") -> bytes:
    """A file of a snapshot; returns its blob's path."""
    repository = root / "hub" / "models--org--name"
    name = leads_to or sha256(path.encode()).hexdigest()
    blob, link = repository / "blobs" / name, repository / "snapshots" / commit / path
    for at in (blob, link):
        at.parent.mkdir(parents=True, exist_ok=True)
    blob.touch()
    link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{name}")
    return os.fsencode(blob.relative_to(root))


def test_a_blob_is_the_files_that_links_say_and_the_same_ones_as_read_anew(tmp_path: Path, root_fd: int) -> None:
    blob = add(tmp_path, "a/model.safetensors")
    add(tmp_path, "b.safetensors", OTHER, blob.decode().rpartition("/")[2])
    other = add(tmp_path, "other.safetensors")
    found = LinkedFiles(root_fd)
    assert set(found.of(blob)) == {
        HubFile("models", "org/name", COMMIT, "a/model.safetensors"),
        HubFile("models", "org/name", OTHER, "b.safetensors"),
    }
    for path in (blob, other):
        read = whereabouts(root_fd, path).files
        assert {(file.revision, file.path) for file in read} == {(file.revision, file.path) for file in found.of(path)}
    assert found.of(b"hub/models--org--name/blobs/" + b"0" * 64) == []
    assert found.of(b"elsewhere/file") == []


def test_a_file_of_the_shared_store_is_what_the_blobs_that_lead_to_it_are(tmp_path: Path, root_fd: int) -> None:
    shared = tmp_path / "hub" / "blobs" / "ee" / ("e" * 64)
    shared.parent.mkdir(parents=True)
    shared.touch()
    blob = tmp_path / os.fsdecode(add(tmp_path, "model.safetensors"))
    blob.unlink()
    blob.symlink_to(f"../../blobs/ee/{shared.name}")
    expected = [HubFile("models", "org/name", COMMIT, "model.safetensors")]
    assert LinkedFiles(root_fd).of(os.fsencode(shared.relative_to(tmp_path))) == expected


def test_a_link_that_is_made_later_is_seen(tmp_path: Path, root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linked, "_MISSED_S", 0.0)
    monkeypatch.setattr(linked, "_HOLDS_TIMES", 0)
    found = LinkedFiles(root_fd)
    assert found.of(add(tmp_path, "one.safetensors"))
    assert found.of(add(tmp_path, "two.safetensors"))


def test_many_blobs_of_a_repository_take_little_longer_than_one(tmp_path: Path, root_fd: int) -> None:
    """So a view of a large data set that is served answers while it finds out what others may have."""
    blobs = [add(tmp_path, f"{number}.safetensors") for number in range(300)]
    began = time.process_time()
    for blob in blobs[:10]:
        assert whereabouts(root_fd, blob).files
    ten_s, began = time.process_time() - began, time.process_time()
    found = LinkedFiles(root_fd)
    assert all(len(found.of(blob)) == 1 for blob in blobs)
    assert time.process_time() - began < ten_s
