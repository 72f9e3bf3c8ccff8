"""The kernel's mount table: /proc/self/mountinfo (proc(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

SUBTYPE: Final = "ipfsfs"
FILESYSTEM: Final = f"fuse.{SUBTYPE}"
"""The type of a view, as it is shown here."""
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")


@dataclass(slots=True, frozen=True)
class Row:
    """One mount. `source` is what the mount table shows as the device: for a view, the directory of its store."""

    mount_id: int
    parent_id: int
    """The number of the mount that it is mounted on."""
    device: int
    mountpoint: Path
    filesystem: str
    source: str
    options: tuple[str, ...]
    """What the filesystem itself was given: for FUSE, whose it is and whom it lets in."""

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """One line of mountinfo. Between fields stands one blank: white space but for blank, tab and newline is shown
        as it is, and a mount without a device has an empty field."""
        fields = line.rstrip(b"\n").split(b" ")
        dash = fields.index(b"-", 6)
        major, minor = fields[2].split(b":")
        return cls(
            int(fields[0]),
            int(fields[1]),
            os.makedev(int(major), int(minor)),
            Path(os.fsdecode(_plain(fields[4]))),
            _plain(fields[dash + 1]).decode(),
            os.fsdecode(_plain(fields[dash + 2])),
            tuple(os.fsdecode(_plain(option)) for option in fields[dash + 3].split(b",")),
        )

    @classmethod
    def all(cls) -> Iterator[Self]:
        """Every mount this process can see, in the order they were made. Raises OSError."""
        with open("/proc/self/mountinfo", "rb") as table:
            for line in table:
                yield cls.parse(line)


def _plain(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)
