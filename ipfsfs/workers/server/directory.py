"""Who has what, as other machines announce it: for the blobs that belong to this machine by rendezvous hashing.

Soft state: nothing is on disk, and an announcement ends after 25 minutes without another. What machines say of one
sha2-256 may differ (they cut files otherwise, or one lies): each root is kept with those who have it, and the one that
most hosts have is told; of two that as many have, the one that was announced first. A host is an address: it has one
vote, however many ports it announces. Of too many announcements those of the host that has most go, its oldest first:
so one machine of the site does not push out what the others say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.origins.peer_messages import HOLDERS_MOST, Announced, Found

LASTS_S: Final = 25 * 60.0
BLOBS_MOST: Final = 200_000
HOLDERS_OF_ONE: Final = 64
ENTRIES_MOST: Final = 500_000
"""Announcements of one blob by one holder. All that is bounded here takes some 300 MB at most."""
_ROOTS_OF_ONE: Final = 4
_DOUBTS: Final = 2
"""So many hosts say that a holder does not answer, and it is told to nobody: one could say so of all."""

_Root = tuple[bytes, int]


@dataclass(slots=True)
class _Entry:
    """A holder of a root. `machine`: the id of who announced it. `doubts`: hosts that had no answer from it."""

    machine: str
    until: float
    public: bool
    doubts: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Host:
    """What one host has announced. `blobs`: how many entries of each, those announced last at the end."""

    entries: int = 0
    blobs: dict[bytes, int] = field(default_factory=dict)


@dataclass(slots=True)
class Directory:
    """All times are those of one clock that never goes back, in seconds."""

    blobs_most: int = BLOBS_MOST
    entries_most: int = ENTRIES_MOST
    _blobs: dict[bytes, dict[_Root, dict[str, _Entry]]] = field(default_factory=dict)
    """By sha2-256; by root and size, those announced first at the beginning; by HOST:PORT, those announced last at the
    end."""
    _hosts: dict[str, _Host] = field(default_factory=dict)
    _entries: int = 0

    def __len__(self) -> int:
        return len(self._blobs)

    def announce(self, machine: str, holder: str, blobs: Iterable[Announced], now: float) -> int:
        """A machine has all of these. Returns how many were taken."""
        taken = 0
        for blob in blobs:
            taken += self._announce(machine, holder, blob, now)
        if self._is_full:
            self._forget_all_old(now)
        while self._is_full:
            self._take_from_greatest()
        return taken

    def gone(self, sha256: bytes, holder: str, host: str) -> None:
        """A holder does not answer, by the word of a host that asked it. It announces itself again if it is there."""
        for root, holders in list(self._blobs.get(sha256, {}).items()):
            if (entry := holders.get(holder)) is not None:
                entry.doubts |= {host}
                if host == host_of(holder) or len(entry.doubts) >= _DOUBTS:
                    self._remove(sha256, root, holder)

    def find(
        self,
        sha256: bytes,
        machine: str,
        now: float,
        *,
        only_public: bool,
        loopback: bool,
        host: str = "",
        without: Collection[str] = (),
    ) -> Found | None:
        """Who has a blob, beside the machine that asks. `loopback`: whether that one can reach addresses of this
        machine alone. `host`: where it asks from. `without`: holders that it had no answer from."""
        best: Found | None = None
        most = 0
        for root in list(self._blobs.get(sha256, ())):
            self._forget_old(sha256, root, now)
            told = {
                holder: entry
                for holder, entry in self._blobs.get(sha256, {}).get(root, {}).items()
                if entry.machine != machine
                and (entry.public or not only_public)
                and (loopback or not _is_local(holder))
                and holder not in without
                and host not in entry.doubts
            }
            votes = len({host_of(holder) for holder in told})
            if votes > most:
                most = votes
                best = Found(*root, _newest(told), any(entry.public for entry in told.values()))
        return best

    def _announce(self, machine: str, holder: str, blob: Announced, now: float) -> bool:
        roots = self._blobs.get(blob.sha256, {})
        root = blob.root, blob.size
        for other in [other for other, holders in roots.items() if holder in holders and other != root]:
            self._remove(blob.sha256, other, holder)
        if root not in roots and len(roots) >= _ROOTS_OF_ONE and not self._make_room_for_root(blob.sha256):
            return False
        if holder in roots.get(root, ()):
            self._remove(blob.sha256, root, holder, keep=True)
        self._add(blob.sha256, root, holder, _Entry(machine, now + LASTS_S, blob.public))
        holders = self._blobs[blob.sha256][root]
        if len(holders) > HOLDERS_OF_ONE:
            self._remove(blob.sha256, root, _one_of_most(holders))
        return True

    def _make_room_for_root(self, sha256: bytes) -> bool:
        """Forget a root that one host alone announces which announces others as well, if there is one."""
        roots = self._blobs[sha256]
        hosts = {root: {host_of(holder) for holder in holders} for root, holders in roots.items()}
        alone = [(root, next(iter(names))) for root, names in hosts.items() if len(names) == 1]
        for root, name in alone:
            if sum(name in names for names in hosts.values()) > 1:
                for holder in list(roots[root]):
                    self._remove(sha256, root, holder)
                return True
        return False

    @property
    def _is_full(self) -> bool:
        return len(self._blobs) > self.blobs_most or self._entries > self.entries_most

    def _take_from_greatest(self) -> None:
        """Forget the oldest of what the host with most entries has announced, until there is room, or it has half as
        many: which host has most is not asked for each entry."""
        host = max(self._hosts.values(), key=lambda host: host.entries)
        least = host.entries // 2
        while self._is_full and host.entries > least:
            self._remove_oldest(host)

    def _forget_all_old(self, now: float) -> None:
        for name, host in list(self._hosts.items()):
            while host.blobs and self._is_old(name, next(iter(host.blobs)), now):
                self._remove_oldest(host)

    def _is_old(self, name: str, sha256: bytes, now: float) -> bool:
        entries = (
            entry
            for holders in self._blobs[sha256].values()
            for holder, entry in holders.items()
            if host_of(holder) == name
        )
        return all(entry.until <= now for entry in entries)

    def _remove_oldest(self, host: _Host) -> None:
        """Forget what a host said of the blob that it has announced before all others."""
        sha256 = next(iter(host.blobs))
        for root, holders in list(self._blobs[sha256].items()):
            for holder in [holder for holder in holders if self._hosts.get(host_of(holder)) is host]:
                self._remove(sha256, root, holder)

    def _forget_old(self, sha256: bytes, root: _Root, now: float) -> None:
        holders = self._blobs[sha256][root]
        for holder in [holder for holder, entry in holders.items() if entry.until <= now]:
            self._remove(sha256, root, holder)

    def _add(self, sha256: bytes, root: _Root, holder: str, entry: _Entry) -> None:
        self._blobs.setdefault(sha256, {}).setdefault(root, {})[holder] = entry
        host = self._hosts.setdefault(host_of(holder), _Host())
        host.blobs[sha256] = host.blobs.pop(sha256, 0) + 1  # the last one now
        host.entries += 1
        self._entries += 1

    def _remove(self, sha256: bytes, root: _Root, holder: str, *, keep: bool = False) -> None:
        """Forget an entry, and what nobody has any more, unless it is to be kept for another entry."""
        name = host_of(holder)
        host, roots = self._hosts[name], self._blobs[sha256]
        del roots[root][holder]
        host.entries -= 1
        self._entries -= 1
        host.blobs[sha256] -= 1
        if not host.blobs[sha256]:
            del host.blobs[sha256]
        if not host.blobs:
            del self._hosts[name]
        if not keep and not roots[root]:
            del roots[root]
        if not roots:
            del self._blobs[sha256]


def host_of(holder: str) -> str:
    """The address of HOST:PORT."""
    return holder.rpartition(":")[0]


def _one_of_most(holders: Iterable[str]) -> str:
    """The holder that was announced first, of those at the host that most are at."""
    by_host: dict[str, list[str]] = {}
    for holder in holders:
        by_host.setdefault(host_of(holder), []).append(holder)
    return max(by_host.values(), key=len)[0]


def _newest(told: Mapping[str, _Entry]) -> tuple[str, ...]:
    """Those that were announced last, but first one of each host."""
    newest = sorted(told, key=lambda holder: -told[holder].until)
    firsts = {host_of(holder): holder for holder in reversed(newest)}
    others = [holder for holder in newest if firsts[host_of(holder)] != holder]
    return (*(holder for holder in newest if firsts[host_of(holder)] == holder), *others)[:HOLDERS_MOST]


def _is_local(holder: str) -> bool:
    return holder.startswith(("127.", "[::1]", "localhost:"))
