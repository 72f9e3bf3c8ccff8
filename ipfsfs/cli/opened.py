"""A directory and its store, opened by a command because no daemon is there to ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ipfsfs.caches.place import Place
from ipfsfs.caches.registry import root_place
from ipfsfs.cli.paths import Target
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger

_LOCKED_S = 1.0


@dataclass(slots=True, frozen=True)
class Opened:
    """All that a daemon would have open."""

    plain: PlainDirectory
    store: Store
    ledger: Ledger
    index: Index
    place: Place

    @classmethod
    @contextmanager
    def at(cls, at: Target) -> Iterator[Opened]:
        """Open while the block runs. Raises StoreError, and MountError where the directory cannot be opened."""
        plain = PlainDirectory.open(at.root)
        try:
            store = Store.open(at.store, create=False, wait_s=_LOCKED_S)
            try:
                ledger = recovery.open_ledger(store)
                try:
                    index = recovery.open_index(store, ledger, plain_root=plain.root, renew=not at.is_store_named)
                    try:
                        yield cls(plain, store, ledger, index, root_place(os.fsencode(at.root)))
                    finally:
                        index.close()
                finally:
                    ledger.close()
            finally:
                store.close()
        finally:
            plain.close()
