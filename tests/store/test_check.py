"""What fsck finds in a store, and what it does about it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ipfsfs.identity import PlainRoot
from ipfsfs.plain import tree
from ipfsfs.store import quarantine, recovery
from ipfsfs.store.check import Comparison, Problem, Remedy, check, compare, repair
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.seal import root_of
from ipfsfs.store.tables.quarantined import Quarantined
from tests.support.seals import DEV, seal_of
from tests.support.stores import file_in

_ROOT = PlainRoot(DEV, 2, 0)


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
    with _index(directory) as index:
        return [seal.ino for seal in index.iterate()]


@contextmanager
def _index(directory: Path) -> Iterator[Index]:
    with file_in(directory, "index") as file:
        index = Index.open(file, plain_root=_ROOT)
        try:
            yield index
        finally:
            index.close()


def _raw(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def _put(directory: Path, **fields: object) -> None:
    with _index(directory) as index:
        index.put([seal_of(b"b" * 2_000_000, 2, **fields)])


def test_a_sound_store_has_no_problems_and_looking_changes_nothing(directory: Path) -> None:
    assert _check(directory) == []
    assert _seals(directory) == [1, 2]


@pytest.mark.parametrize(
    ("spoil", "where", "remedy", "left"),
    [
        (lambda store: (store / "index").chmod(0o644), "index", Remedy.CLOSE_TO_OTHERS, [1, 2]),
        (lambda store: (store / "ledger").write_bytes(b"x" * 9_000), "ledger", Remedy.NEW_LEDGER, []),
        (lambda store: _raw(store / "ledger", "PRAGMA user_version = 99"), "ledger", Remedy.NEW_LEDGER, []),
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
            Remedy.REMOVE_LEFT_OVER,
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
    found = {
        item.path: tree.Found(item.path, replace(item.identity, dev=DEV))  # the device that the index is made for
        for batch in tree.regular_files(root_fd)
        for item in batch
        if isinstance(item, tree.Found)
    }
    os.close(root_fd)
    with _index(directory) as index:
        index.drop([1, 2])
        for name in ("sealed", "changed", "gone"):
            item = found[name.encode()]
            index.put([replace(seal_of(item.path), identity=item.identity)])
        gone = found.pop(b"gone")
        os.utime(plain / "changed", ns=(1, 1))
        now = tree.Found(b"changed", replace(found[b"changed"].identity, mtime_ns=1))
        files = [found[b"sealed"], now, found[b"unsealed"]]
        assert compare(index, files) == Comparison(1, [b"changed"], [b"unsealed"], [gone.ino])
