"""Who has what, as other machines announce it: for the blobs that belong to this machine by rendezvous hashing.

Soft state: nothing is on disk, an announcement ends after 25 minutes without another, and of too many those that were
made first go. What machines say of one sha2-256 may differ (they cut files otherwise, or one lies): each root is kept
with those who have it, and the one that most have is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.origins.peer_messages import HOLDERS_MOST, Announced, Found

LASTS_S: Final = 25 * 60.0
BLOBS_MOST: Final = 200_000
HOLDERS_OF_ONE: Final = 64
ENTRIES_MOST: Final = 500_000
"""Announcements of one blob by one holder. All that is bounded here takes some 250 MB at most."""
_ROOTS_OF_ONE: Final = 4

_Root = tuple[bytes, int]


@dataclass(slots=True)
class _Entry:
    """A holder of a root. `machine`: the id of who announced it."""

    machine: str
    until: float
    public: bool


@dataclass(slots=True)
class Directory:
    """All times are those of one clock that never goes back, in seconds."""

    blobs_most: int = BLOBS_MOST
    entries_most: int = ENTRIES_MOST
    _blobs: dict[bytes, dict[_Root, dict[str, _Entry]]] = field(default_factory=dict)
    """By sha2-256, those announced last at the end; by root and size; by HOST:PORT."""
    _entries: int = 0

    def __len__(self) -> int:
        return len(self._blobs)

    def announce(self, machine: str, holder: str, blobs: Iterable[Announced], now: float) -> int:
        """A machine has all of these. Returns how many were taken."""
        taken = 0
        for blob in blobs:
            taken += self._announce(machine, holder, blob, now)
        while len(self._blobs) > self.blobs_most or self._entries > self.entries_most:
            self._drop(next(iter(self._blobs)))
        return taken

    def gone(self, sha256: bytes, holder: str) -> None:
        """A holder does not answer, by the word of who asked it. It announces itself again if it is there."""
        for root, holders in list(self._blobs.get(sha256, {}).items()):
            if holders.pop(holder, None) is not None:
                self._entries -= 1
                self._trim(sha256, root)

    def find(self, sha256: bytes, machine: str, now: float, *, only_public: bool, loopback: bool) -> Found | None:
        """Who has a blob, beside the machine that asks. `loopback`: whether that one can reach addresses of this
        machine alone."""
        best: Found | None = None
        most = 0
        for root, holders in list(self._blobs.get(sha256, {}).items()):
            self._forget_old(sha256, root, now)
            told = {
                holder: entry
                for holder, entry in holders.items()
                if entry.machine != machine
                and (entry.public or not only_public)
                and (loopback or not _is_local(holder))
            }
            if len(told) > most:
                most = len(told)
                newest = sorted(told, key=lambda holder: -told[holder].until)[:HOLDERS_MOST]
                best = Found(*root, tuple(newest), any(entry.public for entry in told.values()))
        return best

    def _announce(self, machine: str, holder: str, blob: Announced, now: float) -> bool:
        roots = self._blobs.pop(blob.sha256, {})
        self._blobs[blob.sha256] = roots  # the last one now
        root = blob.root, blob.size
        for other, holders in list(roots.items()):
            if other != root and holders.pop(holder, None) is not None:
                self._entries -= 1
                if not holders:
                    del roots[other]
        if root not in roots and len(roots) >= _ROOTS_OF_ONE:
            return False
        holders = roots.setdefault(root, {})
        if holders.pop(holder, None) is None:
            self._entries += 1
        holders[holder] = _Entry(machine, now + LASTS_S, blob.public)
        if len(holders) > HOLDERS_OF_ONE:
            del holders[next(iter(holders))]
            self._entries -= 1
        return True

    def _forget_old(self, sha256: bytes, root: _Root, now: float) -> None:
        holders = self._blobs[sha256][root]
        for holder in [holder for holder, entry in holders.items() if entry.until <= now]:
            del holders[holder]
            self._entries -= 1
        self._trim(sha256, root)

    def _trim(self, sha256: bytes, root: _Root) -> None:
        """Forget what nobody has any more."""
        roots = self._blobs[sha256]
        if not roots[root]:
            del roots[root]
        if not roots:
            del self._blobs[sha256]

    def _drop(self, sha256: bytes) -> None:
        self._entries -= sum(len(holders) for holders in self._blobs.pop(sha256).values())


def _is_local(holder: str) -> bool:
    return holder.startswith(("127.", "[::1]", "localhost:"))
