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
from ipfsfs.store import ledger as ledgers
from ipfsfs.store.ledger import Finding, Ledger, Quarantined
from tests.support.filesystems import mounted_tmpfs

_ROT = Finding("rot", b"models--a/blobs/\xff", 2**64 - 1, "3 of 8 units differ", "", 7)
_BROKEN = Finding("broken_promise", b"models--a/blobs/\xff", 5, "written in place", "vim (process 12)", 3)
_PUT_ASIDE = Quarantined(b"models--a/blobs/ab", b"\1" * 32, b"\2" * 32, "20260101T000000Z-00-ab", 9, "not as promised")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path / "ledger")
    yield ledger
    ledger.close()


def test_marks_stay_until_they_are_forgotten(tmp_path: Path, ledger: Ledger) -> None:
    marks = [(1, 2**61), (1, 5), (2**64 - 1, 5)]
    for mark in [*marks, marks[0]]:
        ledger.mark_unsealed(*mark)
    ledger.close()
    again = Ledger.open(tmp_path / "ledger")
    assert sorted(again.unsealed()) == sorted(marks)
    again.forget_unsealed(marks[:2])
    assert again.unsealed() == [(2**64 - 1, 5)]
    again.close()


def test_findings_are_kept_once_for_each_kind_and_path_and_cleared_by_path(ledger: Ledger) -> None:
    for finding in (
        _ROT,
        _BROKEN,
        replace(_ROT, path=b"other"),
        replace(_ROT, detail="5 of 8 units differ", when_ns=8),
    ):
        ledger.add_finding(finding)
    assert ledger.findings() == [
        _BROKEN,
        replace(_ROT, path=b"other"),
        replace(_ROT, detail="5 of 8 units differ", when_ns=8),
    ]
    ledger.clear_findings(_ROT.path, "rot")
    assert ledger.findings() == [_BROKEN, replace(_ROT, path=b"other")]
    ledger.clear_findings(_ROT.path)
    ledger.clear_findings(b"other")
    assert ledger.findings() == []


def test_who_did_it_is_not_forgotten_for_a_later_finding_that_does_not_know(ledger: Ledger) -> None:
    ledger.add_finding(_BROKEN)
    ledger.add_finding(replace(_BROKEN, detail="its sha256 is another", who="", when_ns=9))
    assert ledger.findings() == [_BROKEN]
    ledger.add_finding(replace(_BROKEN, who="sed (process 13)", when_ns=10))
    assert ledger.findings() == [replace(_BROKEN, who="sed (process 13)", when_ns=10)]


def test_many_threads_may_write_at_once(ledger: Ledger) -> None:
    """`verify` enters what it finds while the view enters what it finds, and breaks seals."""

    def write(number: int) -> None:
        ledger.add_finding(replace(_ROT, path=b"%d" % number))
        ledger.mark_unsealed(number, number)
        ledger.findings()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(80)))
    assert len(ledger.findings()) == len(ledger.unsealed()) == 80


def test_a_dying_disk_does_not_fill_the_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "FINDINGS_MAX", 3)
    for number in range(6):
        ledger.add_finding(replace(_ROT, path=b"%d" % number, when_ns=number))
    assert [finding.path for finding in ledger.findings()] == [b"3", b"4", b"5"]


def test_h24_the_same_bytes_for_the_same_name_are_known_again(ledger: Ledger) -> None:
    ledger.add_quarantined(_PUT_ASIDE)
    assert ledger.was_quarantined(_PUT_ASIDE.name, _PUT_ASIDE.actual)
    assert not ledger.was_quarantined(_PUT_ASIDE.name, b"\3" * 32)
    assert not ledger.was_quarantined(b"models--b/blobs/ab", _PUT_ASIDE.actual)
    assert ledger.quarantined() == [_PUT_ASIDE]
    ledger.forget_quarantined(_PUT_ASIDE.stored_as)
    assert ledger.quarantined() == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(os.urandom(9_000)),
        lambda path: path.write_bytes(b"SQLite format 3\0" + os.urandom(9_000)),
        lambda path: _raw(path, "PRAGMA application_id = 1"),
        lambda path: _raw(path, "PRAGMA user_version = 2"),
        lambda path: _raw(path, "DROP TABLE unsealed"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_a_way_out_and_is_kept_aside(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "ledger"
    Ledger.open(path).close()
    spoil(path)
    unreadable = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Ledger.open(path)
    assert "fsck --repair" in caught.value.hint
    assert path.read_bytes() == unreadable
    ledger = Ledger.rebuild(path)
    ledger.mark_unsealed(1, 2)
    ledger.close()
    assert (tmp_path / "ledger.unreadable").read_bytes() == unreadable


def _raw(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_h17_what_would_not_be_durable_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    ledger.mark_unsealed(1, 2)
    (tmp_path / "ledger-wal").unlink()
    with pytest.raises(StoreError, match="deleted"):
        ledger.mark_unsealed(1, 3)
    assert "deleted" in ledger.healthy()


@pytest.mark.root
def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=256k") as small:
        ledger = Ledger.open(small / "ledger")
        ledger.add_finding(_ROT)
        with pytest.raises(StoreError, match="full"):
            ledger.add_finding(replace(_BROKEN, detail="x" * 1_000_000))
        assert ledger.findings() == [_ROT]
        ledger.close()
