"""A lock for each of many things, such as the files that several commands keep at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Locks(Generic[Key]):
    """Locks by what they are for; each is there for as long as it is held or waited for."""

    _locks: dict[Key, trio.Lock] = field(default_factory=dict)

    @asynccontextmanager
    async def held(self, key: Key) -> AsyncIterator[None]:
        """Hold the lock of `key` while the block runs."""
        lock = self._locks.setdefault(key, trio.Lock())
        async with lock:
            try:
                yield
            finally:
                if not lock.statistics().tasks_waiting:
                    del self._locks[key]
