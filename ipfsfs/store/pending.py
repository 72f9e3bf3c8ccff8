"""Changes of seals on their way to the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ipfsfs.store.seal import Seal

_ROW_BYTES: Final = 400
"""Bytes of memory for an entry, without what a seal says of each part of its file."""


@dataclass(slots=True)
class Pending:
    """By inode, the seal that a file has from now on, or None where it has none any more."""

    _changes: dict[int, Seal | None] = field(default_factory=dict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self._changes)

    def __contains__(self, ino: int) -> bool:
        return ino in self._changes

    def __getitem__(self, ino: int) -> Seal | None:
        return self._changes[ino]

    def enter(self, ino: int, seal: Seal | None) -> None:
        """Add a change, instead of an earlier one of the same inode."""
        self._remove(ino)
        self._changes[ino] = seal
        self._bytes += size_in_memory(seal)

    def batch(self) -> dict[int, Seal | None]:
        """All of it as it is now."""
        return dict(self._changes)

    def written(self, batch: dict[int, Seal | None]) -> None:
        """A batch is in the index. What was changed again since then stays."""
        for ino, seal in batch.items():
            if self._changes.get(ino, ...) is seal:
                self._remove(ino)

    def drop_oldest_seals(self, most_bytes: int) -> int:
        """Give up seals, the oldest first, until the rest takes no more memory; returns how many. That a file has no
        seal any more is never given up, and takes little."""
        given_up = 0
        for ino in [ino for ino, seal in self._changes.items() if seal is not None]:
            if self._bytes <= most_bytes:
                break
            self._remove(ino)
            given_up += 1
        return given_up

    def clear(self) -> None:
        """Forget all of it."""
        self._changes.clear()
        self._bytes = 0

    def _remove(self, ino: int) -> None:
        if ino in self._changes:
            self._bytes -= size_in_memory(self._changes.pop(ino))


def size_in_memory(seal: Seal | None) -> int:
    """The bytes of memory that an entry takes, about."""
    return _ROW_BYTES + (len(seal.sums) + len(seal.leaves) if seal is not None else 0)
