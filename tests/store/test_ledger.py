"""The ledger: what was written is there, whatever happens next."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.store.database import File
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.tables import findings
from ipfsfs.store.tables.brought import BroughtFile
from ipfsfs.store.tables.checks import Check
from ipfsfs.store.tables.findings import Finding
from ipfsfs.store.tables.pins import Pin, PinnedFile
from ipfsfs.store.tables.quarantined import Quarantined
from tests.support.filesystems import mounted_tmpfs
from tests.support.stores import file_in

_ROT = Finding("rot", b"models--a/blobs/\xff", 2**64 - 1, "3 of 8 units differ", "", 7)
_BROKEN = Finding("broken_promise", b"models--a/blobs/\xff", 5, "written in place", "vim (process 12)", 3)
_PUT_ASIDE = Quarantined(b"models--a/blobs/ab", b"\1" * 32, b"\2" * 32, "20260101T000000Z-00-ab", 9, "not as promised")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    """Where the ledger is to lie: in `tmp_path`."""
    with file_in(tmp_path, "ledger") as file:
        yield file


@pytest.fixture
def ledger(file: File) -> Iterator[Ledger]:
    ledger = Ledger.open(file)
    yield ledger
    ledger.close()


def test_marks_stay_until_they_are_forgotten(file: File, ledger: Ledger) -> None:
    marks = [(1, 2**61), (1, 5), (2**64 - 1, 5)]
    for mark in [*marks, marks[0]]:
        ledger.marks.add(*mark)
    ledger.close()
    again = Ledger.open(file)
    assert sorted(again.marks.all()) == sorted(marks)
    again.marks.forget(marks[:2])
    assert again.marks.all() == [(2**64 - 1, 5)]
    again.close()


def test_a_file_that_is_gone_takes_nothing_from_the_next_one_with_its_inode_number(ledger: Ledger) -> None:
    first = BroughtFile(7, 100, b"root", 5, None, b"\1" * 32)
    ledger.brought.add_all([first])
    second = replace(first, born_ns=200)
    ledger.brought.add_all([second])
    ledger.brought.remove(7, 100)
    assert ledger.brought.get(7) == second
    ledger.brought.remove(7, 200)
    assert ledger.brought.get(7) is None


def test_findings_are_kept_once_for_each_kind_and_path_and_cleared_by_path(ledger: Ledger) -> None:
    for finding in (
        _ROT,
        _BROKEN,
        replace(_ROT, path=b"other"),
        replace(_ROT, detail="5 of 8 units differ", when_ns=8),
    ):
        ledger.findings.add(finding)
    assert ledger.findings.all() == [
        _BROKEN,
        replace(_ROT, path=b"other"),
        replace(_ROT, detail="5 of 8 units differ", when_ns=8),
    ]
    ledger.findings.clear(_ROT.path, "rot")
    assert ledger.findings.all() == [_BROKEN, replace(_ROT, path=b"other")]
    ledger.findings.clear(_ROT.path)
    ledger.findings.clear(b"other")
    assert ledger.findings.all() == []


def test_who_did_it_is_not_forgotten_for_a_later_finding_that_does_not_know(ledger: Ledger) -> None:
    ledger.findings.add(_BROKEN)
    ledger.findings.add(replace(_BROKEN, detail="its sha256 is another", who="", when_ns=9))
    assert ledger.findings.all() == [_BROKEN]
    ledger.findings.add(replace(_BROKEN, who="sed (process 13)", when_ns=10))
    assert ledger.findings.all() == [replace(_BROKEN, who="sed (process 13)", when_ns=10)]


def test_many_threads_may_write_at_once(ledger: Ledger) -> None:
    """`verify` enters what it finds while the view enters what it finds, and breaks seals."""

    def write(number: int) -> None:
        ledger.findings.add(replace(_ROT, path=b"%d" % number))
        ledger.marks.add(number, number)
        ledger.findings.all()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(80)))
    assert len(ledger.findings.all()) == len(ledger.marks.all()) == 80


def test_a_dying_disk_does_not_fill_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "FINDINGS_MAX", 3)
    for number in range(6):
        ledger.findings.add(replace(_ROT, path=b"%d" % number, when_ns=number))
    assert [finding.path for finding in ledger.findings.all()] == [b"3", b"4", b"5"]


def test_h24_the_same_bytes_for_the_same_name_are_known_again(ledger: Ledger) -> None:
    ledger.quarantined.add(_PUT_ASIDE)
    assert ledger.quarantined.had(_PUT_ASIDE.name, _PUT_ASIDE.actual)
    assert not ledger.quarantined.had(_PUT_ASIDE.name, b"\3" * 32)
    assert not ledger.quarantined.had(b"models--b/blobs/ab", _PUT_ASIDE.actual)


def test_checks_stay_until_they_are_made(ledger: Ledger) -> None:
    check = Check(b"models--a/blobs/ab", b"models--a/blobs/ab", 2**64 - 1, 7)
    other = replace(check, path=b"models--b/blobs/ab")
    moved = replace(check, last_path=b"blobs/ab/ab")
    for one in (check, other, moved):
        ledger.checks.add(one)
    assert set(ledger.checks.all()) == {moved, other}
    ledger.checks.remove(moved)
    assert ledger.checks.all() == [other]


def test_what_two_pins_hold_is_held_until_both_are_removed(file: File, ledger: Ledger) -> None:
    tree, other = Pin(b"tree", b"models--a", "pinning", 1), Pin(b"other", b"", "pinning", 2)
    ledger.pins.add(tree, [PinnedFile(b"shared", 3), PinnedFile(b"mine", 4), PinnedFile(b"mine", 4)])
    ledger.pins.add(other, [PinnedFile(b"shared", 3)])
    ledger.pins.complete(b"tree")
    ledger.close()
    again = Ledger.open(file)
    assert again.pins.all() == [replace(tree, state="pinned"), other]
    assert again.pins.files(b"tree") == [PinnedFile(b"mine", 4), PinnedFile(b"shared", 3)]
    assert all(again.pins.holds(root) for root in (b"tree", b"other", b"shared", b"mine"))
    assert again.pins.remove(b"tree")
    assert not again.pins.remove(b"tree")
    assert [again.pins.holds(root) for root in (b"tree", b"mine", b"shared")] == [False, False, True]
    assert again.pins.all_files() == {PinnedFile(b"shared", 3)}
    again.pins.remove(b"other")
    assert not again.pins.holds(b"shared")
    again.close()


def test_a_ledger_of_the_first_version_is_brought_to_the_newest(tmp_path: Path, file: File) -> None:
    first = Ledger.open(file)
    first.marks.add(1, 2)
    first.close()
    later = ("checks", "pins", "pinned_files", "brought", "leaving", "upstream_names", "upstream_root")
    for table in (*later, "published", "published_files", "published_nodes", "announced"):
        _raw(tmp_path / "ledger", f"DROP TABLE {table}")
    _raw(tmp_path / "ledger", "PRAGMA user_version = 1")
    newest = Ledger.open(file)
    assert newest.marks.all() == [(1, 2)]
    assert newest.checks.all() == []
    assert newest.pins.all() == []
    assert newest.leaving.all() == []
    assert newest.published.all() == []
    assert newest.announced.all() == []
    assert newest.upstream.known([b"name"]) == set()
    newest.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(os.urandom(9_000)),
        lambda path: path.write_bytes(b"SQLite format 3\0" + os.urandom(9_000)),
        lambda path: _raw(path, "PRAGMA application_id = 1"),
        lambda path: _raw(path, "PRAGMA user_version = 99"),
        lambda path: _raw(path, "DROP TABLE unsealed"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_a_way_out_and_is_kept_aside(
    tmp_path: Path, file: File, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger"
    Ledger.open(file).close()
    spoil(path)
    unreadable = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Ledger.open(file)
    assert "fsck --repair" in caught.value.hint
    assert path.read_bytes() == unreadable
    ledger = Ledger.rebuild(file)
    ledger.marks.add(1, 2)
    ledger.close()
    assert (tmp_path / "ledger.unreadable").read_bytes() == unreadable


def _raw(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_h17_what_would_not_be_durable_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    ledger.marks.add(1, 2)
    (tmp_path / "ledger-wal").unlink()
    with pytest.raises(StoreError, match="deleted"):
        ledger.marks.add(1, 3)


@pytest.mark.root
def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=256k") as small, file_in(small, "ledger") as file:
        ledger = Ledger.open(file)
        ledger.findings.add(_ROT)
        with pytest.raises(StoreError, match="full"):
            ledger.findings.add(replace(_BROKEN, detail="x" * 1_000_000))
        assert ledger.findings.all() == [_ROT]
        ledger.close()
