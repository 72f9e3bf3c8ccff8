"""What is said while the disk of a store is full."""

from __future__ import annotations

from typing import Final

WAITS: Final = "what is sealed waits in memory until there is room"
