"""Leaves that the store holds for other files: in the extents of files that are not wholly here, and in pins.

As of sealed files (`local_leaves`), what is said here are hints: the fetcher compares what it copies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.store.extents import Extents, extent_name
from ipfsfs.store.kept import DIRECTORY, Kept
from ipfsfs.unixfs import cid
from ipfsfs.workers.fetcher.table import LeafTable, Source

_TABLES_MOST: Final = 256
"""Tables of other files that are looked through each time a file is begun."""


@dataclass(slots=True, frozen=True)
class StoredLeaves:
    """Finds leaves in the store."""

    extents: Extents
    kept: Kept

    def sources(self, root: bytes, table: LeafTable, known: Iterable[int]) -> dict[int, Source]:
        """By index of a leaf, where its bytes may be had, but for those leaves that are `known` to be elsewhere. Never
        raises."""
        found: dict[int, Source] = {}
        left = set(known)
        wanted = {leaf.cid: index for index, leaf in enumerate(table) if index not in left}
        if not wanted:
            return found
        for name, of, leaves in islice(self._files(), _TABLES_MOST):
            if of == root or not any(leaf.cid in wanted for leaf in leaves):
                continue
            try:
                ino = os.stat(name, dir_fd=self.extents.fd, follow_symlinks=False).st_ino
            except OSError:
                continue
            for leaf in leaves:
                if cid.codec(leaf.cid) == cid.RAW and (index := wanted.pop(leaf.cid, None)) is not None:
                    found[index] = Source(os.fsencode(name), ino, leaf.offset, "store")
        return found

    def _files(self) -> Iterator[tuple[str, bytes, LeafTable]]:
        """The paths of files of several leaves from the directory of extents, their roots and their leaves."""
        try:
            extents = [(extent_name(*file), *file) for file in self.extents.with_tables()]
            pinned = [(f"{DIRECTORY}/{extent_name(*file)}", *file) for file in self.kept.tables_of()]
        except OSError:
            return
        for name, root, size in (*extents, *pinned):
            tables = self.kept.tables if name.startswith(DIRECTORY) else self.extents
            records = tables.read_table(root, size)
            if records is not None:
                try:
                    yield name, root, LeafTable(records)
                except FormatError:
                    continue
