"""What a worker did to files and what of it must be there after a power cut, by the position in the disk's log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

SECTOR: Final = 512
BLOCK: Final = 4096
How = Literal["whole", "patched", "growing"]


@dataclass(slots=True)
class Version:
    """What a file held from some moment on; None: it was gone. `begun`: the log's position before the first call that
    could bring it about; `durable`: the position after the call that made sure of it, if there was one."""

    begun: int
    data: bytes | None
    durable: int | None = None


@dataclass(slots=True)
class Story:
    """The versions of each file. How they came about says what may be found when the power went amid it.

    whole: renamed into place, the directory fsynced. patched: overwritten in place, after an append at times. growing:
    appended.
    """

    how: dict[str, How] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)

    def begin(self, name: str, how: How, position: int, data: bytes | None) -> Version:
        """A new version of a file is about to be made."""
        self.how[name] = how
        version = Version(position, data)
        self.versions.setdefault(name, []).append(version)
        return version

    def wrong(self, name: str, position: int, found: bytes | None) -> str:
        """What is wrong with a file that was found after the power was cut at a position; empty where nothing is."""
        possible = self._possible(name, position)
        if not possible:
            return ""
        oldest = possible[0]
        if self.how[name] == "whole" or found is None or oldest is None:
            return "" if found in possible else f"{_shown(found)}, and not one of {[_shown(one) for one in possible]}"
        contents = [data for data in possible if data is not None]
        if self.how[name] == "growing":
            longest = max(contents, key=len)
            if len(found) < len(oldest):
                return f"only {len(found)} of {len(oldest)} bytes"
            # ext4 orders data before size for new blocks only: what is added to the last one may still be zeros.
            ahead = zip(found[len(oldest) :], longest[len(oldest) :], strict=False)
            same = found.startswith(oldest) and len(found) <= len(longest) and all(a in (b, 0) for a, b in ahead)
            return "" if same else "something else was appended"
        lengths = sorted({len(data) for data in contents})
        # What is appended gets its size block by block: the one that was there already before those that are new.
        between = lengths[0] < len(found) < lengths[-1] and len(found) % BLOCK == 0
        if len(found) not in lengths and not between:
            return f"{len(found)} bytes, and not one of {lengths}"
        sure = len(oldest)
        for at in range(0, len(found), SECTOR):
            if not any(_matches(found[at : at + SECTOR], data[at : at + SECTOR], sure - at) for data in contents):
                return f"the sector at {at} is none that was written"
        return ""

    def _possible(self, name: str, position: int) -> list[bytes | None]:
        """The last version that was sure at a position, and all that were begun after that. None: nothing is sure."""
        versions = [version for version in self.versions[name] if version.begun <= position]
        sure = [n for n, version in enumerate(versions) if version.durable is not None and version.durable <= position]
        return [version.data for version in versions[sure[-1] :]] if sure else []


def _matches(found: bytes, written: bytes, sure: int) -> bool:
    """Whether a sector is one that was written; what was appended, from `sure` on, may still be zeros."""
    return all(
        have == (written[at] if at < len(written) else 0) or (at >= sure and have == 0) for at, have in enumerate(found)
    )


def _shown(data: bytes | None) -> str:
    return "no file" if data is None else f"{len(data)} bytes beginning {data[:8].hex()}"
