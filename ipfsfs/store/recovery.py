"""Opening both databases so that together they say nothing false, whatever happened before."""

from __future__ import annotations

from ipfsfs.errors import StoreError
from ipfsfs.store import database
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger


def open_ledger(store: Store) -> Ledger:
    """Open the ledger; before the first one is made, whatever index is there goes: nobody knows what in it still holds.

    Raises StoreError where it cannot be read.
    """
    if not store.ledger_path.exists():
        remove_index(store)
    return Ledger.open(store.ledger_path)


def rebuild_ledger(store: Store) -> Ledger:
    """Make an empty ledger instead of one that cannot be read, and drop the index. Raises StoreError."""
    remove_index(store)
    return Ledger.rebuild(store.ledger_path)


def open_index(store: Store, ledger: Ledger, *, plain_root: tuple[int, int]) -> Index:
    """Open the index, without the seals that the ledger says hold no longer. Raises StoreError.

    `plain_root` is the inode and birth time (ns) of the plain directory.
    """
    index = Index.open(store.index_path, plain_root=plain_root)
    try:
        forget_marks(index, ledger)
    except StoreError:
        index.close()
        raise
    return index


def forget_marks(index: Index, ledger: Ledger) -> int:
    """Drop the seals that the ledger says hold no longer, on disk too, then the marks; returns how many marks (H17).

    May be called at any time between other calls of index and ledger. Raises StoreError.
    """
    marks = ledger.unsealed()
    if marks:
        index.drop_seals(marks)
        index.make_durable()
        ledger.forget_unsealed(marks)
    return len(marks)


def remove_index(store: Store) -> None:
    """Remove the index; it is made anew when it is opened. Raises StoreError."""
    try:
        database.remove(store.index_path)
    except OSError as error:
        raise database.broken(store.index_path, error) from error
