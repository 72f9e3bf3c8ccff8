"""Attributes of a file as the view shows them, and changes to them as a worker asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ipfsfs.unixfs import cid

CID_XATTR: Final = cid.XATTR.encode()
"""Not listed: copying it must not be tried."""


class Attributes(Protocol):
    """What stat(2) shows of a file, its number excepted. Sizes in bytes, `st_blocks` of 512 bytes, times in ns.

    An `os.stat_result` is one: those of resident files are answered as they were read, for lookups are many.
    """

    @property
    def st_mode(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_rdev(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_blksize(self) -> int: ...
    @property
    def st_blocks(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


@dataclass(slots=True, frozen=True)
class Shown:
    """Attributes that are not as the plain directory has them."""

    st_mode: int
    st_nlink: int
    st_uid: int
    st_gid: int
    st_rdev: int
    st_size: int
    st_blksize: int
    st_blocks: int
    st_atime_ns: int
    st_mtime_ns: int
    st_ctime_ns: int

    @classmethod
    def of(cls, st: Attributes, *, nlink: int) -> Shown:
        """Those of a file in the plain directory, with another number of links."""
        return cls(
            st.st_mode, nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size, st.st_blksize, st.st_blocks,
            st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
        )  # fmt: skip


@dataclass(slots=True, frozen=True)
class Changes:
    """Which attributes to set; None leaves one as it is. Times in ns."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


NOTHING: Final = Changes()
