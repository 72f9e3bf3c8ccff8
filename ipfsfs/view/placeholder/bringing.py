"""Bringing ahead: all placeholders below some paths are fetched, and become ordinary files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.below import Below, Item
from ipfsfs.exchange.loads import Loads
from ipfsfs.view.backing import Node, stale
from ipfsfs.view.names import Names
from ipfsfs.view.outcomes import Brought, Failure

_AT_ONCE: Final = 4
_LOOK_S: Final = 0.5
"""How often it is said how far the fetching is."""


Report = Callable[[Brought], None]


@dataclass(slots=True)
class Bringing:
    """Fetches ahead."""

    names: Names
    loads: Loads
    below: Below
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def bring(self, paths: Sequence[bytes], report: Report, *, is_trial: bool) -> Brought:
        """Have all below some paths from the plain root here. What one file fails for, the others do not wait for.
        `is_trial`: only say what would be fetched."""
        work = _Work(self)
        for item in await trio.to_thread.run_sync(self._items, paths, limiter=self._limiter):
            work.add(item)
        if not is_trial:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work.tell, report)
                await work.run()
                nursery.cancel_scope.cancel()
        return work.brought

    def _items(self, paths: Sequence[bytes]) -> list[Item]:
        found = {item.path: item for path in paths for item in self.below.items(path)}
        return list(found.values())

    @contextmanager
    def node(self, path: bytes) -> Iterator[Node]:
        """The node of a path from the root, known for as long as the block runs, also where the kernel does not know
        it. Raises OSError."""
        entries = []
        node = self.names.nodes.root
        try:
            for name in path.split(b"/"):
                entry = self.names.lookup(node, name)
                if entry is None:
                    raise stale()
                entries.append(entry)
                node = entry.node
            yield node
        finally:
            for entry in reversed(entries):
                self.names.unlisted(entry)


@dataclass(slots=True)
class _Work:
    """The files of one question."""

    bringing: Bringing
    brought: Brought = field(default_factory=Brought)
    _waiting: list[Item] = field(default_factory=list)
    _fetching: list[Item] = field(default_factory=list)
    _whole: int = 0
    """Bytes of the files that are done."""

    def add(self, item: Item) -> None:
        """A file that is asked for."""
        if item.stands_for is None:
            self.brought.here += 1
            return
        self.brought.files += 1
        self.brought.bytes += item.size
        self._waiting.append(item)

    async def run(self) -> None:
        """Fetch all, several at once."""
        self._waiting.reverse()
        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(self._some)

    async def _some(self) -> None:
        while self._waiting:
            item = self._waiting.pop()
            self._fetching.append(item)
            try:
                with self.bringing.node(item.path) as node:
                    await node.backing.resident(node)
            except (IpfsfsError, OSError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                self.brought.failed.append(Failure(item.path, why or str(error)))
            else:
                self._whole += item.size
            finally:
                self._fetching.remove(item)
            self.brought.files_done += 1
            self._count()

    async def tell(self, report: Report) -> None:
        """Say now and then how far it is."""
        while True:
            await trio.sleep(_LOOK_S)
            self._count()
            report(self.brought)

    def _count(self) -> None:
        done = self._whole
        for item in self._fetching:
            assert item.stands_for is not None
            done += self.bringing.loads.here(item.stands_for)
        self.brought.bytes_done = done
