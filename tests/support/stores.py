"""Changing what stands in a store that nobody uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.layout import Store
from ipfsfs.store.seal import Seal


def amend_seals(directory: Path, store_directory: Path, change: Callable[[Seal], Seal]) -> None:
    """Replace each seal in the index of a directory's store."""
    plain = PlainDirectory.open(directory)
    store = Store.open(store_directory)
    try:
        ledger = recovery.open_ledger(store)
        index = recovery.open_index(store, ledger, plain_root=(plain.ino, plain.born_ns))
        index.put([change(seal) for seal in list(index.iterate())])
        index.close()
        ledger.close()
    finally:
        store.close()
        plain.close()
