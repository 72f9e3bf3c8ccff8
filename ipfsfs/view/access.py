"""What an open asks for: the flags of open(2), decoded once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_PASSED_ON: Final = os.O_ACCMODE | os.O_SYNC | os.O_DSYNC
"""O_APPEND would send a shared mapping's page to the end of the file (H11); O_TRUNC is done after the file was opened,
so that an open that is refused changes nothing; the kernel has dealt with the others."""


@dataclass(slots=True, frozen=True)
class Access:
    """What an open asks for. `flags` are those to open the plain file with."""

    flags: int
    writes: bool
    truncates: bool
    exclusive: bool

    @property
    def needs_writing(self) -> bool:
        """Whether the file has to be opened for writing: to truncate it, too, be it with O_RDONLY."""
        return self.writes or self.truncates

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, flags: int) -> Access:
        """The flags of open(2), as the kernel passes them on."""
        return cls(
            flags=flags & _PASSED_ON,
            writes=flags & os.O_ACCMODE != os.O_RDONLY,
            truncates=bool(flags & os.O_TRUNC),
            exclusive=bool(flags & os.O_EXCL),
        )


READING: Final = Access.parse(os.O_RDONLY)
