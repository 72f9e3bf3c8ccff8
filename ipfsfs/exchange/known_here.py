"""What the site has to know of this machine."""

from __future__ import annotations

from typing import Protocol

from ipfsfs.origins.peer_messages import Found


class Downloads(Protocol):
    """The downloads of clients that go on through the view."""

    def done(self, sha256: bytes) -> int | None:
        """How many bytes of a blob are here; None where no program downloads it now."""


class Here(Protocol):
    """What is here."""

    def resident(self, sha256: bytes) -> Found | None:
        """A whole file with this sha256, under whatever name."""
