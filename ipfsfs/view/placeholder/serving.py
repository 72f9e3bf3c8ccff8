"""What all placeholders of a view share: the loads, the leaves that were read last, and how a failed read is logged."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

import trio

from ipfsfs.errors import IpfsfsError, NotHere
from ipfsfs.exchange.load import Load
from ipfsfs.exchange.loads import Loads
from ipfsfs.view.backing import Backing, Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.placeholder.hydrating import Hydrating
from ipfsfs.view.placeholder.open_links import OpenLinks
from ipfsfs.view.placeholder.proof import Proof

log = logging.getLogger(__name__)

_SAID_AGAIN_S: Final = 60.0
_VARYING: Final = re.compile(r"\bba[a-z2-7]{40,}\b| \((?:not asked again|being tried again)[^()]*\)")
"""What changes from read to read where the reason stays the same: which leaf was asked for, and an origin's pause."""
_LEAVES: Final = 16
"""Leaves kept in memory, of at most 2 MiB each: a reader of many small parts has each leaf read and checked once."""


@dataclass(slots=True)
class RecentLeaves:
    """Leaves that were read from an extent and checked."""

    _leaves: OrderedDict[tuple[Load, int], memoryview] = field(default_factory=OrderedDict)
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(8))

    def get(self, load: Load, index: int) -> memoryview | None:
        """The bytes of a leaf, where it was read of late."""
        leaf = self._leaves.get((load, index))
        if leaf is not None:
            self._leaves.move_to_end((load, index))
        return leaf

    async def read(self, load: Load, index: int) -> memoryview:
        """The bytes of a leaf that is in the extent; in a thread where the disk has to be asked.

        Raises IntegrityError, OSError.
        """
        found = self.get(load, index)
        if found is None:
            leaf = load.table[index]
            data: bytearray | bytes | None = _read_nowait(load.fd, leaf.offset, leaf.length)
            if data is None:
                data = await trio.to_thread.run_sync(_read, load.fd, leaf.offset, leaf.length, limiter=self._limiter)
            load.check(index, data)
            found = self._leaves[load, index] = memoryview(data).toreadonly()
            if len(self._leaves) > _LEAVES:
                self._leaves.popitem(last=False)
        return found


def _read_nowait(fd: int, offset: int, length: int) -> bytearray | None:
    """Bytes that are in the page cache; None where some are not, or the filesystem does not tell."""
    data = bytearray(length)
    try:
        count = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
    except OSError:
        return None
    return data if count == length else None


def _read(fd: int, offset: int, length: int) -> bytes:
    """Bytes of an extent; none where the disk refuses to read them, so that the leaf counts as one that is not here."""
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


@dataclass(slots=True)
class Serving:
    """What placeholders are served by."""

    nodes: NodeTable
    loads: Loads
    hydrating: Hydrating
    resident: Backing
    links: OpenLinks
    proof: Proof
    leaves: RecentLeaves = field(default_factory=RecentLeaves)
    _said: WeakKeyDictionary[Node, tuple[str, float]] = field(default_factory=WeakKeyDictionary)
    """By node, why a request failed last, and when that may be logged again."""

    @contextmanager
    def failures_logged(self, node: Node) -> Iterator[None]:
        """A request that fails for want of content is logged before it is answered."""
        try:
            yield
        except IpfsfsError as error:
            said = _VARYING.sub("", str(error)), time.monotonic() + _SAID_AGAIN_S
            before = self._said.get(node)
            if before is None or before[0] != said[0] or before[1] < time.monotonic():
                self._said[node] = said
                log.error("%s: %s", os.fsdecode(self.nodes.path(node)), error)
            said_by_link = node.backing.stands_for
            if isinstance(error, NotHere) and said_by_link is not None:
                self.hydrating.taking_back.cannot_be_had(node, said_by_link)
            raise
