"""Databases outside of a store, and changing what stands in a store that nobody uses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.database import File
from ipfsfs.store.layout import Store
from ipfsfs.store.seal import Seal


@contextmanager
def file_in(directory: Path, name: str) -> Iterator[File]:
    """A database's file in a directory, which is held open meanwhile."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield File(fd, name)
    finally:
        os.close(fd)


def amend_seals(directory: Path, store_directory: Path, change: Callable[[Seal], Seal]) -> None:
    """Replace each seal in the index of a directory's store."""
    plain = PlainDirectory.open(directory)
    store = Store.open(store_directory)
    try:
        ledger = recovery.open_ledger(store)
        index = recovery.open_index(store, ledger, plain_root=plain.root)
        index.put([change(seal) for seal in list(index.iterate())])
        index.close()
        ledger.close()
    finally:
        store.close()
        plain.close()


@contextmanager
def held_elsewhere(lock: threading.RLock) -> Iterator[None]:
    """A lock that another thread holds while the block runs."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            assert done.wait(60), "the block did not end: it waits for the lock itself"

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(60)
    try:
        yield
    finally:
        done.set()
        holder.join()
