"""Whoever follows what is sealed."""

from __future__ import annotations

from typing import Protocol


class Follower(Protocol):
    """Hears of seals. No call waits."""

    def sealed(self, ino: int, path: bytes) -> None:
        """A sealed file was seen at a path from the plain root."""

    def unsealed(self, ino: int) -> None:
        """A file has no seal any more."""


class NoFollower:
    """Follows nothing."""

    def sealed(self, ino: int, path: bytes) -> None:
        """As `Follower`."""

    def unsealed(self, ino: int) -> None:
        """As `Follower`."""
