"""Both databases together, after a kill, a loss, or a power cut."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.identity import PlainRoot
from ipfsfs.store import recovery
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.seals import DEV, seal_of

_ROOT = PlainRoot(DEV, 2, 1_700_000_000_000_000_000)


@contextmanager
def _opened(directory: Path) -> Iterator[tuple[Store, Ledger, Index]]:
    store = Store.open(directory)
    ledger = recovery.open_ledger(store)
    index = recovery.open_index(store, ledger, plain_root=_ROOT)
    try:
        yield store, ledger, index
    finally:
        index.close()
        ledger.close()
        store.close()


def test_h17_a_marked_seal_is_gone_at_the_next_mount_and_others_are_not(tmp_path: Path) -> None:
    with _opened(tmp_path / "store") as (_, ledger, index):
        index.put([seal_of(b"a", 1, seal_id=10), seal_of(b"b", 2, seal_id=20), seal_of(b"c", 3, seal_id=30)])
        ledger.marks.add(1, 10)
        ledger.marks.add(3, 29)
    with _opened(tmp_path / "store") as (_, ledger, index):
        assert [seal.ino for seal in index.iterate()] == [2, 3]
        assert ledger.marks.all() == []


def test_marks_can_be_forgotten_while_mounted(tmp_path: Path) -> None:
    with _opened(tmp_path / "store") as (_, ledger, index):
        index.put([seal_of(b"a", 1, seal_id=10)])
        ledger.marks.add(1, 10)
        index.put([seal_of(b"b", 1, seal_id=11)])
        assert recovery.forget_marks(index, ledger) == 1
        assert recovery.forget_marks(index, ledger) == 0
        seal = index.get(1)
        assert seal is not None
        assert seal.seal_id == 11


def test_without_a_ledger_no_seal_is_believed(tmp_path: Path) -> None:
    with _opened(tmp_path / "store") as (_, _, index):
        index.put([seal_of(b"a", 1)])
    (tmp_path / "store" / "ledger").unlink()
    with _opened(tmp_path / "store") as (_, _, index):
        assert index.get(1) is None


def test_an_unreadable_ledger_is_rebuilt_together_with_the_index(tmp_path: Path) -> None:
    with _opened(tmp_path / "store") as (_, _, index):
        index.put([seal_of(b"a", 1)])
    (tmp_path / "store" / "ledger").write_bytes(b"garbage" * 1_000)
    store = Store.open(tmp_path / "store")
    with pytest.raises(StoreError):
        recovery.open_ledger(store)
    recovery.rebuild_ledger(store).close()
    store.close()
    with _opened(tmp_path / "store") as (_, ledger, index):
        assert index.get(1) is None
        assert ledger.marks.all() == []


@pytest.mark.root
def test_h17_the_power_goes_right_after_a_mark_and_the_mark_is_there(tmp_path: Path) -> None:
    """The image of a mounted filesystem holds at each moment what a power cut would leave."""
    image = new_ext4_image(tmp_path / "image")
    with mounted_image(image, tmp_path / "mounted") as mounted:
        with _opened(mounted / "store") as (_, _, index):
            index.put([seal_of(b"a", 1, seal_id=10), seal_of(b"b", 2, seal_id=20)])
        with _opened(mounted / "store") as (_, ledger, index):
            index.put([seal_of(b"c", 3, seal_id=30)])
            ledger.marks.add(1, 10)
            shutil.copy(image, tmp_path / "after the mark")
            index.drop([2])
            assert recovery.forget_marks(index, ledger) == 1
            shutil.copy(image, tmp_path / "after forgetting")
    with (
        mounted_image(tmp_path / "after the mark", tmp_path / "again") as mounted,
        _opened(mounted / "store") as (_, _, index),
    ):
        assert index.get(1) is None
    with mounted_image(tmp_path / "after forgetting", tmp_path / "again") as mounted:
        store = Store.open(mounted / "store")
        ledger = Ledger.open(store.ledger_file)
        assert ledger.marks.all() == []
        index = Index.open(store.index_file, plain_root=_ROOT)
        assert index.get(1) is None
        assert index.get(2) is None
        for database in (index, ledger, store):
            database.close()
