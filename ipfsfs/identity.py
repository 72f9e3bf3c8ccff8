"""What tells that a sealed file is still the same file with the same content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

_NUMBERS_END: Final = 1 << 63


class PlainRoot(NamedTuple):
    """What tells one plain directory from another: device, inode, and birth time (ns) of its root."""

    dev: int
    ino: int
    born_ns: int


class Stat(Protocol):
    """What stat(2) tells of a file, as far as identities need it. `os.stat_result` is one."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


@dataclass(slots=True, frozen=True)
class Identity:
    """Device, inode, birth time, size and times (ns) of a file. Equal identities mean: nobody has changed it since.

    `born_ns` is 0 where the filesystem keeps no birth time.
    """

    dev: int
    ino: int
    born_ns: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def with_stat(cls, st: Stat, born_ns: int) -> Identity:
        """The identity in a stat result, with the birth time that stat does not have."""
        return cls(st.st_dev, st.st_ino, born_ns, st.st_size, st.st_mtime_ns, st.st_ctime_ns)

    def agrees(self, st: Stat) -> bool:
        """Whether a stat result shows the same identity, as far as stat can tell (it has no birth time)."""
        return (
            self.ctime_ns == st.st_ctime_ns
            and self.mtime_ns == st.st_mtime_ns
            and self.size == st.st_size
            and self.ino == st.st_ino
            and self.dev == st.st_dev
        )

    def after(self, st: Stat) -> Identity | None:
        """This identity with the ctime of `st`; None where more than the ctime is another.

        For calls of ours that change a file's ctime and not its content: rename, link, chmod, chown, an attribute.
        """
        carried = replace(self, ctime_ns=st.st_ctime_ns)
        return carried if carried.agrees(st) else None

    def can_be_kept(self) -> bool:
        """Whether all numbers fit the 63 bits that a database has for them; ext4 has times until the year 2446."""
        return max(self.size, self.born_ns, self.mtime_ns, self.ctime_ns) < _NUMBERS_END
