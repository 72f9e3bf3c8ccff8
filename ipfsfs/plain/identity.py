"""What tells that a sealed file is still the same file with the same content."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from ipfsfs.plain import syscalls

SETTLE_NS: Final = 50_000_000
"""Two writes within one tick of the kernel's clock (4 ms, 10 ms at HZ=100) carry the same times: a file whose times
are younger than this may change without showing it, so it is not sealed yet."""

_NUMBERS_END: Final = 1 << 63


@dataclass(slots=True, frozen=True)
class Identity:
    """Device, inode, birth time, size and times (ns) of a file. Equal identities mean: nobody has changed it since."""

    dev: int
    ino: int
    born_ns: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, fd: int) -> Identity:
        """The identity of the open file `fd`. Raises OSError."""
        return cls.with_stat(os.fstat(fd), syscalls.birth_time_ns(fd))

    @classmethod
    def with_stat(cls, st: os.stat_result, born_ns: int) -> Identity:
        """The identity in a stat result, with the birth time that stat does not have."""
        return cls(st.st_dev, st.st_ino, born_ns, st.st_size, st.st_mtime_ns, st.st_ctime_ns)

    def agrees(self, st: os.stat_result) -> bool:
        """Whether a stat result shows the same identity, as far as stat can tell (it has no birth time)."""
        return (
            self.ctime_ns == st.st_ctime_ns
            and self.mtime_ns == st.st_mtime_ns
            and self.size == st.st_size
            and self.ino == st.st_ino
            and self.dev == st.st_dev
        )

    def can_be_kept(self) -> bool:
        """Whether all numbers fit the 63 bits that a database has for them; ext4 has times until the year 2446."""
        return max(self.size, self.born_ns, self.mtime_ns, self.ctime_ns) < _NUMBERS_END

    def is_fresh(self) -> bool:
        """Whether a change made right now could go unnoticed (see `SETTLE_NS`): by ctime, which nobody can set."""
        return abs(time.time_ns() - self.ctime_ns) < SETTLE_NS
