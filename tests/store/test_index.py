"""The index: it gives back what was put in, or says that it cannot; never anything else."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.identity import PlainRoot
from ipfsfs.store.database import File
from ipfsfs.store.index import Index, Totals
from tests.support.filesystems import mounted_tmpfs
from tests.support.seals import DEV, seal_of
from tests.support.stores import file_in

_ROOT = PlainRoot(DEV, 2, 1_700_000_000_000_000_000)
_BIG = bytes(5 << 20)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    """Where the index is to lie: in `tmp_path`."""
    with file_in(tmp_path, "index") as file:
        yield file


@pytest.fixture
def index(file: File) -> Iterator[Index]:
    index = Index.open(file, plain_root=_ROOT)
    yield index
    index.close()


def _reopen(file: File, root: PlainRoot = _ROOT) -> tuple[str, list[int]]:
    """Why the index was made anew, and the inodes in it."""
    index = Index.open(file, plain_root=root)
    try:
        return index.reason, [seal.ino for seal in index.iterate()]
    finally:
        index.close()


def _raw(path: Path, *statements: str) -> None:
    """Change the database behind the back of the index."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_was_put_is_got(index: Index) -> None:
    seals = [seal_of(b"a", 1), seal_of(b"", 2), seal_of(_BIG, 2**64 - 1, leased=False, settled=True, sha256=b"")]
    index.put(seals)
    assert [index.get(seal.ino) for seal in seals] == seals
    assert index.get(3) is None
    assert sorted(index.iterate(), key=lambda seal: seal.ino) == seals
    assert index.totals() == Totals(3, 1 + len(_BIG), 1 + 5)
    assert index.files_with_root(seals[2].root) == [2**64 - 1]


def test_a_new_seal_replaces_the_old_one_and_what_is_dropped_is_gone(index: Index) -> None:
    index.put([seal_of(b"a", 1), seal_of(b"b", 2)])
    index.put([seal_of(b"c", 1)])
    index.drop([2, 77])
    assert index.get(1) == seal_of(b"c", 1)
    assert index.get(2) is None


def test_only_the_named_seal_is_dropped(index: Index) -> None:
    index.put([seal_of(b"a", 1, seal_id=5), seal_of(b"b", 2, seal_id=6)])
    index.drop_seals([(1, 4), (2, 6)])
    assert (index.get(1) is not None, index.get(2)) == (True, None)


def test_it_survives_being_closed_and_being_killed(tmp_path: Path, file: File) -> None:
    code = (
        "import os, signal; from ipfsfs.identity import PlainRoot;"
        "from ipfsfs.store.database import File; from ipfsfs.store.index import Index;"
        "from tests.support.seals import DEV, seal_of;"
        f"index = Index.open(File(os.open({str(tmp_path)!r}, os.O_RDONLY), 'index'), plain_root={_ROOT});"
        "index.put([seal_of(b'a', ino) for ino in range(1, 500)]);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert _reopen(file) == ("", list(range(1, 500)))
    assert _reopen(file) == ("", list(range(1, 500)))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b"SQLite format 3\0" + os.urandom(8_000)), "database"),
        (lambda path: path.write_bytes(os.urandom(50_000)), "not a database"),
        (lambda path: _raw(path, "PRAGMA user_version = 99"), "format 99"),
        (lambda path: _raw(path, "PRAGMA application_id = 7"), "no index"),
        (lambda path: _raw(path, "DROP TABLE seals"), "seals"),
        (lambda path: _raw(path, "DROP TABLE meta"), "meta"),
        (lambda path: _raw(path, "DELETE FROM meta"), "another directory"),
    ],
)
def test_what_cannot_serve_is_made_anew_and_says_why(
    tmp_path: Path, file: File, spoil: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "index"
    assert _reopen(file) == ("", [])
    spoil(path)
    with pytest.raises(StoreError):
        Index.open(file, plain_root=_ROOT, renew=False)
    index = Index.open(file, plain_root=_ROOT)
    assert reason in index.reason
    index.put([seal_of(b"a", 1)])
    index.close()
    assert _reopen(file) == ("", [1])


def test_the_index_of_another_directory_is_not_used(tmp_path: Path, file: File) -> None:
    index = Index.open(file, plain_root=_ROOT)
    index.put([seal_of(b"a", 1)])
    index.close()
    reason, inos = _reopen(file, _ROOT._replace(born_ns=1))
    assert "another directory" in reason
    assert inos == []


_FLIPS = {
    "leased": "0",
    "settled": "0",
    "chunker": "'fixed'",
    "boot": "'b' || boot",
    **{column: f"CAST(x'ff' || substr({column}, 2) AS BLOB)" for column in ("root", "sha256", "sums", "leaves")},
}


@pytest.mark.parametrize(
    "column",
    [*("ino", "born_ns", "size", "mtime_ns", "ctime_ns", "seal_id", "row_sum"), *_FLIPS],
)
def test_a_row_in_which_anything_changed_is_no_seal(tmp_path: Path, file: File, column: str) -> None:
    path = tmp_path / "index"
    index = Index.open(file, plain_root=_ROOT)
    index.put([seal_of(b"ab", 10, settled=True), seal_of(b"cd", 12)])
    index.close()
    flip = _FLIPS.get(column, f"{column} + 1")
    _raw(path, f"UPDATE seals SET {column} = {flip} WHERE ino = 10")
    index = Index.open(file, plain_root=_ROOT)
    try:
        damaged = 11 if column == "ino" else 10
        assert index.get(damaged) is None
        assert [seal.ino for seal in index.iterate()] == [12]
        assert index.damaged() == [damaged]
    finally:
        index.close()


def test_a_value_of_the_wrong_type_is_no_seal(tmp_path: Path, file: File) -> None:
    path = tmp_path / "index"
    index = Index.open(file, plain_root=_ROOT)
    index.put([seal_of(b"ab", ino) for ino in range(1, 5)])
    index.close()
    _raw(
        path,
        "UPDATE seals SET size = 'much' WHERE ino = 1",
        "UPDATE seals SET leaves = 5 WHERE ino = 2",
        "UPDATE seals SET boot = CAST(x'ff' AS TEXT) WHERE ino = 3",
        "UPDATE seals SET sums = 'text' WHERE ino = 4",
    )
    index = Index.open(file, plain_root=_ROOT)
    try:
        assert [index.get(ino) for ino in range(1, 5)] == [None] * 4
    finally:
        index.close()


def test_a_file_torn_when_the_machine_stopped_is_made_anew(tmp_path: Path, file: File) -> None:
    path = tmp_path / "index"
    index = Index.open(file, plain_root=_ROOT)
    index.put([seal_of(b"a", ino) for ino in range(1, 2_000)])
    index.close()
    _raw(path, "UPDATE meta SET value = '0' WHERE key = 'closed'", "UPDATE meta SET value = 'x' WHERE key = 'boot'")
    with path.open("r+b") as raw:
        raw.seek(20 * 4_096)
        raw.write(bytes(4_096))
    reason, inos = _reopen(file)
    assert "when the machine stopped" in reason
    assert inos == []


def test_a_file_that_was_deleted_or_replaced_while_open_is_noticed(tmp_path: Path, index: Index) -> None:
    assert index.trouble() == ""
    log = tmp_path / "index-wal"
    kept = log.read_bytes()
    log.unlink()
    assert "index-wal was deleted" in index.trouble()
    log.write_bytes(kept)
    assert "index-wal was replaced" in index.trouble()
    (tmp_path / "index").unlink()
    assert "index was deleted" in index.trouble()
    (tmp_path / "index").write_bytes(b"")
    assert "index was replaced" in index.trouble()


@pytest.mark.parametrize("target", ["index", "index-wal"])
def test_garbage_written_over_it_while_open_never_gives_a_wrong_seal(tmp_path: Path, file: File, target: str) -> None:
    index = Index.open(file, plain_root=_ROOT)
    right = {ino: seal_of(bytes(str(ino), "ascii"), ino) for ino in range(1, 3_000)}
    index.put(list(right.values()))
    if target == "index":
        index.make_durable()
    index.close()
    index = Index.open(file, plain_root=_ROOT)
    index.put([right[1]])
    with (tmp_path / target).open("r+b") as raw:
        raw.write(os.urandom((tmp_path / target).stat().st_size))
    failed = 0
    for ino in right:
        try:
            assert index.get(ino) in (None, right[ino])
        except StoreError:
            failed += 1
    try:
        index.put([seal_of(b"new", ino) for ino in range(1, 3_000)])
        list(index.iterate())
    except StoreError:
        failed += 1
    if target == "index":
        assert failed
    index.close()


def test_discarded_it_leaves_nothing_and_says_so(tmp_path: Path, index: Index) -> None:
    index.put([seal_of(b"a", 1)])
    index.discard()
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreError):
        index.get(1)
    with pytest.raises(StoreError):
        index.put([seal_of(b"a", 1)])


def test_discarding_waits_for_a_thread_that_writes(index: Index) -> None:
    failures: list[BaseException] = []
    began = threading.Event()

    def write() -> None:
        try:
            for _ in range(10_000):
                index.put([seal_of(b"a", ino) for ino in range(50)])
                began.set()
        except StoreError:
            pass
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert began.wait(10)
    for ino in range(200):
        index.get(ino)
    index.discard()
    thread.join(20)
    assert not thread.is_alive()
    assert failures == []


@pytest.mark.root
def test_a_full_disk_is_an_error_and_what_was_there_is_still_right(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=512k") as small, file_in(small, "index") as file:
        index = Index.open(file, plain_root=_ROOT)
        index.put([seal_of(b"a", 1)])
        with pytest.raises(StoreError, match="full"):
            index.put([seal_of(b"a", ino) for ino in range(1, 5_000)])
        assert list(index.iterate()) == [seal_of(b"a", 1)]
        index.discard()
        assert os.listdir(small) == []
        (small / "filler").write_bytes(bytes(504 * 1024))
        with pytest.raises(StoreError):
            Index.open(file, plain_root=_ROOT)


@pytest.mark.root
def test_made_unwritable_while_open_it_says_so(tmp_path: Path, file: File) -> None:
    path = tmp_path / "index"
    index = Index.open(file, plain_root=_ROOT)
    index.put([seal_of(b"a", 1)])
    subprocess.run(["chattr", "+i", path, tmp_path / "index-wal"], check=True)
    try:
        with pytest.raises(StoreError):
            index.put([seal_of(b"a", 2)])
        assert index.get(1) == seal_of(b"a", 1)
    finally:
        subprocess.run(["chattr", "-i", path, tmp_path / "index-wal"], check=True)
    index.close()


def test_its_files_are_for_us_alone_whatever_the_umask_is(tmp_path: Path, file: File) -> None:
    before = os.umask(0)
    try:
        index = Index.open(file, plain_root=_ROOT)
        index.put([seal_of(b"a", 1)])
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in os.listdir(tmp_path)}
        index.close()
    finally:
        os.umask(before)
    assert modes == {"index": 0o600, "index-wal": 0o600}
