"""What index and ledger share: formats, and writes to files that are no longer there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.store.database import Database, File, Schema, Unusable, connect
from tests.support.stores import file_in

_FIRST = "CREATE TABLE things (name TEXT PRIMARY KEY) WITHOUT ROWID;"
_SECOND = "-- Added; later.\nCREATE TABLE colours (name TEXT, thing TEXT);\nCREATE INDEX by_thing ON colours (thing);"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    with file_in(tmp_path, "database") as file:
        yield file


def test_a_directory_that_is_swapped_while_it_is_open_leads_nowhere_else(tmp_path: Path) -> None:
    """Whoever may rename it puts a symlink to another directory in its place: nothing there is touched."""
    ours, theirs, away = tmp_path / "ours", tmp_path / "theirs", tmp_path / "away"
    for directory in (ours, theirs):
        directory.mkdir()
    kept = {name: f"{name} of another" for name in ("database", "database-wal", "database-journal", "database-shm")}
    for name, text in kept.items():
        (theirs / name).write_text(text)
    with file_in(ours, "database") as file:
        database = _open(file, _FIRST)
        ours.rename(away)
        ours.symlink_to(theirs)
        second = connect(file, synchronous="OFF", busy_ms=1000)
        database.write(("INSERT INTO things VALUES (?)", ("pen",)))
        assert database.trouble() == ""
        assert second.execute("SELECT name FROM things").fetchall() == [("pen",)]
        second.close()
        database.close()
        again = _open(file, _FIRST)
        assert again.rows("SELECT name FROM things") == [("pen",)]
        file.remove()
        assert "deleted" in again.trouble()
        again.close()
    assert list(away.iterdir()) == []
    assert {path.name: path.read_text() for path in theirs.iterdir()} == kept


def test_a_symlink_is_no_database(tmp_path: Path, file: File) -> None:
    (tmp_path / "other").write_bytes(b"")
    (tmp_path / "database").symlink_to("other")
    with pytest.raises(OSError, match="no regular file"):
        _open(file, _FIRST)
    assert (tmp_path / "other").read_bytes() == b""


def _open(file: File, *formats: str) -> Database:
    return Database.open(file, Schema("ledger", 0x1234, formats), busy_ms=1000)


def test_a_database_of_an_older_format_is_brought_to_the_newest_and_keeps_what_it_holds(file: File) -> None:
    older = _open(file, _FIRST)
    assert older.is_new
    older.write(("INSERT INTO things VALUES (?)", ("pen",)))
    older.close()
    for _ in range(2):
        newer = _open(file, _FIRST, _SECOND)
        assert not newer.is_new
        assert newer.rows("SELECT name FROM things") == [("pen",)]
        assert newer.rows("SELECT name FROM colours") == []
        newer.close()


def test_a_database_of_a_newer_format_is_refused(file: File) -> None:
    _open(file, _FIRST, _SECOND).close()
    with pytest.raises(Unusable, match="it has format 2, and this version of ipfsfs knows formats up to 1"):
        _open(file, _FIRST)


def test_a_format_that_cannot_be_made_leaves_the_one_before(file: File) -> None:
    _open(file, _FIRST).close()
    with pytest.raises(Exception, match="syntax"):
        _open(file, _FIRST, "CREATE TABLE colours (name TEXT); CREATE nothing;")
    _open(file, _FIRST).close()
    _open(file, _FIRST, _SECOND).close()
