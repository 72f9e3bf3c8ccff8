"""The quarantine: every file in it can be found, and explained."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.store import quarantine
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.tables.quarantined import Quarantined

pytestmark = pytest.mark.filesystem

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
    with pytest.raises(FileExistsError):
        quarantine.write_note(quarantine_fd, _item("there"))
    assert (tmp_path / "there").read_bytes() == b"evidence"


def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path, quarantine_fd: int) -> None:
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "x.json").write_bytes(b"\xff not json")
    assert [(item.stored_as, item.note) for item in quarantine.kept(quarantine_fd)] == [("x", None)]


def test_what_is_not_there_cannot_be_removed(quarantine_fd: int) -> None:
    with pytest.raises(StoreError):
        quarantine.remove(quarantine_fd, "missing")


def _fill(directory: Path, size: int, when_s: int, owner: int = -1) -> str:
    """A file in the quarantine, and its name."""
    stored_as = quarantine.name_for(b"x", _WHEN_NS + when_s * 10**9)
    (directory / stored_as).write_bytes(b"x" * size)
    (directory / f"{stored_as}.json").write_text("{}")
    os.chown(directory / stored_as, owner, -1)
    return stored_as


def _kept(fd: int) -> list[str]:
    return [item.stored_as for item in quarantine.kept(fd)]


def test_the_oldest_make_room(tmp_path: Path, quarantine_fd: int) -> None:
    names = [_fill(tmp_path, 100_000, number) for number in range(5)]
    limited = Quarantine(quarantine_fd, 500_000)
    limited.make_room(200_000, os.geteuid())
    assert _kept(quarantine_fd) == names[3:]
    assert limited.usage().limit == 500_000
    assert 200_000 <= limited.usage().size <= 300_000


@pytest.mark.root
def test_what_one_user_keeps_does_not_drive_out_that_of_another(tmp_path: Path, quarantine_fd: int) -> None:
    mine = _fill(tmp_path, 100_000, 0, owner=1)
    theirs = [_fill(tmp_path, 100_000, number, owner=2) for number in (1, 2, 3)]
    Quarantine(quarantine_fd, 500_000).make_room(100_000, 2)
    assert _kept(quarantine_fd) == [mine, *theirs[1:]]


def test_what_is_larger_than_the_limit_makes_no_room(tmp_path: Path, quarantine_fd: int) -> None:
    name = _fill(tmp_path, 100_000, 0, owner=os.geteuid())
    with pytest.raises(OSError, match="no room") as caught:
        Quarantine(quarantine_fd, 150_000).make_room(200_000, 1)
    assert caught.value.errno == errno.EFBIG
    assert _kept(quarantine_fd) == [name]


def test_many_small_files_have_a_limit_too(tmp_path: Path, quarantine_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_FILES_MOST", 3)
    names = [_fill(tmp_path, 0, number, owner=os.geteuid()) for number in range(3)]
    Quarantine(quarantine_fd, 10**9).make_room(0, os.geteuid())
    assert _kept(quarantine_fd) == names[1:]


def test_without_a_size_the_limit_is_a_share_of_what_is_free(quarantine_fd: int) -> None:
    free = os.fstatvfs(quarantine_fd)
    assert 0 < Quarantine(quarantine_fd).usage().limit <= min(16_000_000_000, free.f_blocks * free.f_frsize // 4)


def test_a_copy_has_its_name_when_it_is_complete(tmp_path: Path, quarantine_fd: int) -> None:
    source = tmp_path.stat()
    limited = Quarantine(quarantine_fd, 10**9)
    item = _item("20260101T000000Z-00000000-" + "a" * 64)
    with limited.incoming(item, source) as target:
        os.write(target, b"content")
        assert _kept(quarantine_fd) == []
    assert _kept(quarantine_fd) == [item.stored_as]
    with pytest.raises(OSError, match="full"), limited.incoming(replace(item, stored_as="y"), source):
        raise OSError(errno.ENOSPC, "full")
    assert sorted(os.listdir(tmp_path)) == [item.stored_as, f"{item.stored_as}.json"]


def test_what_a_daemon_left_half_done_is_cleared_away(tmp_path: Path, quarantine_fd: int) -> None:
    name = "20260101T000000Z-00000000-" + "a" * 64
    for left in (f"{name}.json", f"{name}.partial"):
        (tmp_path / left).write_text("{}")
    kept = _fill(tmp_path, 1, 0)
    assert _kept(quarantine_fd) == [kept]
    Quarantine(quarantine_fd, 10**9).put_in_order()
    assert sorted(os.listdir(tmp_path)) == [kept, f"{kept}.json"]
