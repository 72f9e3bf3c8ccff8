"""What the kernel was told of a file, and hence whether what it has cached of it is still right.

The kernel keeps pages, size and times of a file between requests, and nothing is ever taken from it by a notification
(H8). What it was told last is remembered here as a stamp; an open that finds another one is answered ESTALE, at which
the kernel looks the name up again (H22), or has it drop its pages.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ipfsfs.identity import Stat
from ipfsfs.plain.identities import hides_changes

_NOTHING: Final = 0
_OUTDATED: Final = 1
"""What was told is known to be old: no stamp has this value, nor the one above."""
_UNKNOWN_PID: Final = 0
"""What the kernel calls every process of another PID namespace."""
_RETRIED_NS: Final = 1_000_000_000
"""A process without a number is taken for the one that was refused for this long: the kernel retries at once."""
_REFUSED_NS: Final = 10_000_000_000
"""After this long a process that was refused has not come back, and opens anew: perhaps the name was another file's
when the kernel looked again."""


def stamp(st: Stat) -> int:
    """A number that changes with size or times of a file. mtime can be set back, ctime cannot."""
    return hash((st.st_mtime_ns, st.st_size, st.st_ctime_ns)) | 2


class Pages(Enum):
    """What an open may do with the pages that the kernel has cached."""

    KEEP = "keep"
    DROP = "drop"
    LOOK_AGAIN = "look again"
    """Size and times are old as well: the open is to be refused, so that the kernel looks the name up again."""


@dataclass(slots=True)
class KernelCache:
    """What the kernel knows of one file."""

    _told: int = _NOTHING
    _stale_pages: bool = False
    written_unseen: bool = False
    """A process has the file open to write it past the daemon: what the kernel is told of it is old at once."""
    _refused: dict[int, tuple[int, int]] | None = None
    """By process: what had been told when its open was refused, and when that was (ns). It is refused once."""

    def told(self, st: Stat) -> None:
        """The kernel is told size and times in an answer."""
        mark = stamp(st)
        if self._told not in (_NOTHING, mark):
            self._stale_pages = True
        self._told = mark

    def changed(self, st: Stat) -> None:
        """Content was changed by a call through the view, after which the file is as `st` says."""
        self._told = stamp(st)
        self._stale_pages = True

    def carried(self, before: Stat, after: Stat) -> None:
        """A call through the view changed the ctime, and left the content alone."""
        if self._told == stamp(before):
            self._told = stamp(after)

    def expect_unseen_writes(self) -> None:
        """A process is about to open the file to write it past the daemon: the kernel is to ask for size and times
        from now on, also where it was told that it may trust them."""
        if not self.written_unseen:
            self.written_unseen = True
            self._told = _OUTDATED

    def expect_no_more_unseen_writes(self) -> None:
        """The last of those processes has closed the file. Pages that the kernel was asked for meanwhile (as by
        fadvise) may be older than what was written, and the times not show it."""
        if self.written_unseen:
            self.written_unseen = False
            self._stale_pages = True

    def lost(self) -> None:
        """An answer did not reach the kernel. What it has is old if pages were to be dropped with that answer."""
        if self._stale_pages:
            self._told = _OUTDATED

    def opened(self, st: Stat, pid: int) -> Pages:
        """A process opens the file, which is as `st` says."""
        mark = stamp(st)
        if self._told not in (_NOTHING, mark):
            self._stale_pages = True
            if self._is_first(pid):
                return Pages.LOOK_AGAIN
        if self._refused is not None:
            self._refused.pop(pid, None)
            self._refused = self._refused or None
        # What the kernel caches from now on may be old at the next open, and its stamp not show it.
        keep, self._stale_pages = not self._stale_pages, hides_changes(st.st_ctime_ns)
        return Pages.KEEP if keep else Pages.DROP

    def _is_first(self, pid: int) -> bool:
        """Whether an open that found old attributes is to be refused; the one that follows at once is not."""
        now = time.monotonic_ns()
        if self._refused is not None and (before := self._refused.get(pid)) is not None:
            told, when = before
            # Without a number it may be another process; who was refused comes back after the kernel has looked again.
            if pid != _UNKNOWN_PID:
                if now - when < _REFUSED_NS:
                    return False
            elif now - when < _RETRIED_NS and (told != self._told or self._told == _OUTDATED):
                return False
        if self._refused is None:
            self._refused = {}
        self._refused[pid] = self._told, now
        return True
