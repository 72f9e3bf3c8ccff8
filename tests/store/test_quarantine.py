"""The quarantine: every file in it can be found, and explained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.store import quarantine
from ipfsfs.store.ledger import Quarantined

_WHEN_NS = 1_767_225_600_000_000_000


@pytest.fixture
def quarantine_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _item(stored_as: str, name: bytes = b"models--a/blobs/ab") -> Quarantined:
    return Quarantined(name, b"\1" * 32, b"\2" * 32, stored_as, _WHEN_NS, "not what its name promises")


@pytest.mark.parametrize(
    ("path", "readable"),
    [
        (b"models--a/blobs/0123abcd", "0123abcd"),
        (b"x/a b\xff\n.bin", "a_b__.bin"),
        (b"..", ".."),
        (b"a/" + b"l" * 255, "l" * 120),
        (b"x.json", "x.json"),
    ],
)
def test_names_are_readable_bounded_and_never_the_same(path: bytes, readable: str) -> None:
    names = {quarantine.name_for(path, _WHEN_NS) for _ in range(50)}
    assert len(names) == 50
    for name in names:
        assert name.startswith("20260101T000000Z-")
        assert name.endswith(f"-{readable}")
        assert len(name) <= 160
        assert "/" not in name


def test_names_sort_by_time() -> None:
    names = [quarantine.name_for(b"x", _WHEN_NS + seconds * 10**9) for seconds in (0, 1, 100, 100_000)]
    assert names == sorted(names)


def test_what_is_kept_is_listed_with_its_note(tmp_path: Path, quarantine_fd: int) -> None:
    first = quarantine.name_for(b"models--a/blobs/ab", _WHEN_NS)
    second = quarantine.name_for(b"x.json", _WHEN_NS + 10**9)
    quarantine.write_note(quarantine_fd, _item(first, b"models--a/blobs/\xff"))
    with open(quarantine.open_new(quarantine_fd, first), "wb") as file:
        file.write(b"content")
    (tmp_path / second).write_bytes(b"{}")
    kept = quarantine.kept(quarantine_fd)
    assert [(item.stored_as, item.size) for item in kept] == [(first, 7), (second, 2)]
    assert kept[0].note == {
        "path": "models--a/blobs/\\xff",
        "promised_sha256": "01" * 32,
        "actual_sha256": "02" * 32,
        "when": "2026-01-01T00:00:00Z",
        "why": "not what its name promises",
    }
    assert json.loads((tmp_path / f"{first}.json").read_text()) == kept[0].note
    assert kept[1].note is None
    quarantine.remove(quarantine_fd, first)
    assert os.listdir(tmp_path) == [second]


def test_nothing_in_it_is_ever_overwritten(tmp_path: Path, quarantine_fd: int) -> None:
    (tmp_path / "there").write_bytes(b"evidence")
    (tmp_path / "there.json").write_bytes(b"note")
    with pytest.raises(FileExistsError):
        quarantine.open_new(quarantine_fd, "there")
    with pytest.raises(StoreError):
        quarantine.write_note(quarantine_fd, _item("there"))
    assert (tmp_path / "there").read_bytes() == b"evidence"


def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, quarantine_fd: int) -> None:
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "x.json").write_bytes(b"\xff not json")
    assert [(item.stored_as, item.note) for item in quarantine.kept(quarantine_fd)] == [("x", None)]


def test_what_is_not_there_cannot_be_removed(quarantine_fd: int) -> None:
    with pytest.raises(StoreError):
        quarantine.remove(quarantine_fd, "missing")
