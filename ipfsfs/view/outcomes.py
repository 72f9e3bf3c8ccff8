"""What came of giving files back to their origins, and of bringing them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, frozen=True)
class File:
    """A file that went, or stays: its path from the plain root, its bytes, and why it stays."""

    path: bytes
    size: int
    why: str = ""


@dataclass(slots=True)
class Given:
    """What was given back, or would be. `extents`: bytes of parts of files that are not wholly here. `not_here`: files
    that were not here before. `size`: bytes of all that counts, once it is done; None where it was not looked for."""

    went: list[File] = field(default_factory=list)
    stays: list[File] = field(default_factory=list)
    extents: int = 0
    not_here: int = 0
    size: int | None = None

    @property
    def bytes(self) -> int:
        """All bytes that were given back."""
        return self.extents + sum(file.size for file in self.went)


class Failure(NamedTuple):
    """A file that could not be had, by its path from the plain root, and why."""

    path: bytes
    why: str


@dataclass(slots=True)
class Brought:
    """What was not here and is to be, how much of it is by now, and the files that could not be had, with why.
    `here`: files that were here before."""

    files: int = 0
    bytes: int = 0
    files_done: int = 0
    bytes_done: int = 0
    here: int = 0
    failed: list[Failure] = field(default_factory=list)
