"""Files that get no seal as they are now, by identity. Known in memory only: of a secret nothing is to be on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from ipfsfs.identity import Identity, Stat


class Reason(Enum):
    """Why a file gets no seal: its content gives a secret away, or no seal can hold it (its size, its times)."""

    SECRET = auto()
    UNFIT = auto()


@dataclass(slots=True)
class Unsealable:
    """What the sealer has found of files it read or looked at. A file that changes is unknown again: its inode alone
    says nothing, for it may be another file's by then."""

    _known: dict[int, tuple[Identity, Reason]] = field(default_factory=dict)

    def add(self, identity: Identity, reason: Reason) -> None:
        """A file with this identity gets no seal."""
        self._known[identity.ino] = identity, reason

    def reason(self, st: Stat) -> Reason | None:
        """Why the file that a stat result is of gets no seal; None where nothing is known of it as it is now."""
        identity, reason = self._known.get(st.st_ino, (None, None))
        return reason if identity is not None and identity.agrees(st) else None

    def holds(self, identity: Identity) -> bool:
        """Whether a file with this identity gets no seal."""
        return identity.ino in self._known and self._known[identity.ino][0] == identity

    def restamp(self, before: Stat, after: Stat) -> None:
        """Carry what is known over a call that changed a file's ctime and not its content."""
        if (reason := self.reason(before)) is not None:
            identity = self._known[before.st_ino][0].after(after)
            if identity is not None:
                self.add(identity, reason)

    def drop(self, ino: int) -> None:
        """A file is gone, or is to be looked at again."""
        self._known.pop(ino, None)
