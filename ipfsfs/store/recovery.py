"""Opening both databases so that together they say nothing false, whatever happened before."""

from __future__ import annotations

from ipfsfs.errors import NoRoom, StoreError
from ipfsfs.identity import PlainRoot
from ipfsfs.store import database
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger


def open_ledger(store: Store) -> Ledger:
    """Open the ledger. Before the first one is made, an index is removed: which of its seals hold is not known.

    Raises StoreError where it cannot be read.
    """
    if not store.ledger_file.exists():
        remove_index(store)
    return Ledger.open(store.ledger_file)


def rebuild_ledger(store: Store) -> Ledger:
    """Make an empty ledger instead of one that cannot be read, and drop the index. Raises StoreError."""
    remove_index(store)
    return Ledger.rebuild(store.ledger_file)


def open_index(store: Store, ledger: Ledger, *, plain_root: PlainRoot, renew: bool = True) -> Index:
    """Open the index, without the seals that the ledger says hold no longer. Raises StoreError; then there is none."""
    index = Index.open(store.index_file, plain_root=plain_root, marked=ledger.marks, renew=renew)
    try:
        forget_marks(index, ledger)
    except NoRoom:
        pass  # they stay marked
    except StoreError:
        index.discard()
        raise
    return index


def forget_marks(index: Index, ledger: Ledger) -> int:
    """Drop the seals that the ledger says hold no longer, on disk too, then the marks; returns how many marks (H17).

    May be called at any time between other calls of index and ledger. Raises StoreError.
    """
    marks = ledger.marks.all()
    if marks:
        index.drop_seals(marks)
        index.make_durable()
        ledger.marks.forget(marks)
    return len(marks)


def remove_index(store: Store) -> None:
    """Remove the index; it is made anew when it is opened. Raises StoreError."""
    try:
        store.index_file.remove()
    except OSError as error:
        raise database.broken(store.index_file, error) from error
