"""What fsck finds in a store, and what it does about it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.plain import tree
from ipfsfs.store import quarantine, recovery
from ipfsfs.store.check import Comparison, Problem, Remedy, check, compare, repair
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Quarantined
from ipfsfs.store.seal import root_of
from tests.support.seals import seal_of

_ROOT = (2, 0)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A store with two seals, and something in quarantine."""
    store = Store.open(tmp_path / "store")
    ledger = recovery.open_ledger(store)
    index = recovery.open_index(store, ledger, plain_root=_ROOT)
    index.put([seal_of(b"a" * 3_000_000, 1), seal_of(b"b", 2)])
    quarantine.write_note(store.quarantine_fd, Quarantined(b"x", b"", b"", "x", 0, "why"))
    os.close(quarantine.open_new(store.quarantine_fd, "x"))
    for one in (index, ledger, store):
        one.close()
    return tmp_path / "store"


def _check(directory: Path, *, mend: bool = False) -> list[Problem]:
    store = Store.open(directory, create=False)
    try:
        problems = check(store, plain_root=_ROOT)
        if mend:
            repair(store, problems, plain_root=_ROOT)
        return problems
    finally:
        store.close()


def _seals(directory: Path) -> list[int]:
    index = Index.open(directory / "index", plain_root=_ROOT)
    try:
        return [seal.ino for seal in index.iterate()]
    finally:
        index.close()


def _raw(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def _put(directory: Path, **fields: object) -> None:
    index = Index.open(directory / "index", plain_root=_ROOT)
    index.put([seal_of(b"b" * 2_000_000, 2, **fields)])
    index.close()


def test_a_sound_store_has_no_problems_and_looking_changes_nothing(directory: Path) -> None:
    assert _check(directory) == []
    assert _seals(directory) == [1, 2]


@pytest.mark.parametrize(
    ("spoil", "where", "remedy", "left"),
    [
        (lambda store: (store / "index").chmod(0o644), "index", Remedy.CLOSE_TO_OTHERS, [1, 2]),
        (lambda store: (store / "ledger").write_bytes(b"x" * 9_000), "ledger", Remedy.NEW_LEDGER, []),
        (lambda store: _raw(store / "ledger", "PRAGMA user_version = 7"), "ledger", Remedy.NEW_LEDGER, []),
        (lambda store: (store / "ledger").unlink(), "index", Remedy.NEW_INDEX, []),
        (lambda store: (store / "index").write_bytes(b"x" * 9_000), "index", Remedy.NEW_INDEX, []),
        (
            lambda store: _raw(store / "index", "UPDATE seals SET size = 8 WHERE ino = 2"),
            "index",
            Remedy.DROP_SEAL,
            [1],
        ),
        (lambda store: _put(store, root=root_of(b"")), "index", Remedy.DROP_SEAL, [1]),
        (lambda store: _put(store, leaves=seal_of(b"c").leaves), "index", Remedy.DROP_SEAL, [1]),
        (
            lambda store: (store / "quarantine" / "x").unlink(),
            "quarantine/x.json",
            Remedy.REMOVE_NOTE,
            [1, 2],
        ),
    ],
)
def test_each_problem_is_found_and_mended(
    directory: Path, spoil: Callable[[Path], None], where: str, remedy: Remedy, left: list[int]
) -> None:
    spoil(directory)
    problems = _check(directory, mend=True)
    assert [(problem.where, problem.remedy) for problem in problems] == [(where, remedy)]
    assert problems[0].what
    assert _check(directory) == []
    assert _seals(directory) == left


def test_what_is_not_ours_is_named_and_left_alone(directory: Path) -> None:
    (directory / "notes.txt").write_text("mine")
    (directory / "quarantine" / "y").write_text("no note")
    problems = _check(directory, mend=True)
    assert [(problem.where, problem.remedy) for problem in problems] == [
        ("notes.txt", Remedy.NONE),
        ("quarantine/y", Remedy.NONE),
    ]
    assert (directory / "notes.txt").exists()
    assert (directory / "quarantine" / "y").exists()


def test_the_index_against_the_plain_directory(tmp_path: Path, directory: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("sealed", "changed", "unsealed", "gone"):
        (plain / name).write_bytes(name.encode())
    root_fd = os.open(plain, os.O_PATH)
    found = {item.path: item for batch in tree.regular_files(root_fd) for item in batch if isinstance(item, tree.Found)}
    os.close(root_fd)
    index = Index.open(directory / "index", plain_root=_ROOT)
    try:
        index.drop([1, 2])
        for name in ("sealed", "changed", "gone"):
            item = found[name.encode()]
            index.put(
                [seal_of(item.path, item.ino, born_ns=item.born_ns, mtime_ns=item.mtime_ns, ctime_ns=item.ctime_ns)]
            )
        gone = found.pop(b"gone")
        os.utime(plain / "changed", ns=(1, 1))
        changed = os.stat(plain / "changed")
        now = tree.Found(b"changed", changed.st_ino, changed.st_size, 1, changed.st_ctime_ns, found[b"changed"].born_ns)
        files = [found[b"sealed"], now, found[b"unsealed"]]
        assert compare(index, files) == Comparison(1, [b"changed"], [b"unsealed"], [gone.ino])
    finally:
        index.close()
