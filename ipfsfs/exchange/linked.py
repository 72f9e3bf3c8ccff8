"""Which files of the Hub the blobs of a repository are, as the links of its snapshots say: of many blobs one after the
other, with each directory read once for all of them.

`whereabouts` reads a repository anew for each blob, so that it misses nothing; of 10,000 blobs each costs 0.2 s then.
What is read here holds for ten seconds, or for twenty times as long as it took; for a blob to which no link leads, one.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ipfsfs.caches.registry import repository_over
from ipfsfs.exchange.whereabouts import FILES_MOST, blob_links, shared_store, snapshot_links
from ipfsfs.origins.hub_file import HubFile

_HOLDS_S: Final = 10.0
_MISSED_S: Final = 1.0
_HOLDS_TIMES: Final = 20
_KEPT: Final = 4
"""Directories of which links are kept."""


@dataclass(slots=True)
class _Read:
    """Links, by what they lead to: commit and path below it, or the path of a blob. `until`: how long they hold good;
    `missed_until`: for what is not among them."""

    until: float
    missed_until: float
    by_target: dict[bytes, list[tuple[bytes, bytes]]]


@dataclass(slots=True)
class LinkedFiles:
    """All calls wait for the disk, and may be made by several threads."""

    root_fd: int
    _read: OrderedDict[bytes, _Read] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path: bytes) -> list[HubFile]:
        """The files on the Hub that links say the blob at a path from the plain root is, to be asked for without a
        token; empty where no link leads there. Never raises."""
        found: dict[HubFile, None] = {}
        for blob in self._names(path):
            over = repository_over(blob)
            if over is None:
                continue
            directory, kind, repository = over
            read = partial(_of_snapshots, self.root_fd, directory)
            for commit, below in (link for target in {blob, path} for link in self._links(directory, target, read)):
                found[HubFile(kind, repository, commit.decode(), os.fsdecode(below))] = None
        return list(found)[:FILES_MOST]

    def forget(self) -> None:
        """No more blobs are asked about for now."""
        with self._lock:
            self._read.clear()

    def _names(self, path: bytes) -> list[bytes]:
        store = shared_store(path)
        if store is None:
            return [path]
        links = self._links(store + b"/blobs", path, partial(_of_blobs, self.root_fd, store))
        return [name for name, _ in links]

    def _links(
        self, directory: bytes, target: bytes, read: Callable[[], Iterable[tuple[bytes, bytes, bytes]]]
    ) -> list[tuple[bytes, bytes]]:
        with self._lock:  # else each thread would read the same
            known, now = self._read.get(directory), time.monotonic()
            if known is None or now > (known.until if target in known.by_target else known.missed_until):
                by_target: dict[bytes, list[tuple[bytes, bytes]]] = {}
                for leads_to, first, second in read():
                    by_target.setdefault(leads_to, []).append((first, second))
                after = time.monotonic()
                took_s = _HOLDS_TIMES * (after - now)
                known = _Read(after + max(_HOLDS_S, took_s), after + max(_MISSED_S, took_s), by_target)
                self._read[directory] = known
            self._read.move_to_end(directory)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
            return known.by_target.get(target, [])


def _of_snapshots(root_fd: int, directory: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
    for commit, below, link in snapshot_links(root_fd, directory):
        yield link.target, commit, below


def _of_blobs(root_fd: int, hub: bytes) -> Iterable[tuple[bytes, bytes, bytes]]:
    for link in blob_links(root_fd, hub):
        yield link.target, link.path, b""
