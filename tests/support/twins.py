"""One piece of work done in a mounted view and on plain disk, on one filesystem, and held to come to the same."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.mounted import Mounted

Work = Callable[[Path], Any]


def shown(st: os.stat_result) -> tuple[Any, ...]:
    """What of a stat must be the same on both sides."""
    sized = stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode)
    return oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size if sized else None


def outcome(work: Callable[[], Any]) -> Any:
    """What a call returns, or the name of the errno it fails with."""
    try:
        return work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def tree(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Every name below a directory, with its attributes and its content or target."""
    found: dict[bytes, tuple[Any, ...]] = {}
    pending = [os.fsencode(root)]
    while pending:
        above = pending.pop()
        for entry in os.scandir(above):
            st = entry.stat(follow_symlinks=False)
            content = b""
            if stat.S_ISREG(st.st_mode):
                with open(entry.path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(entry.path)
            elif stat.S_ISDIR(st.st_mode):
                pending.append(entry.path)
            found[os.path.relpath(entry.path, os.fsencode(root))] = (*shown(st), content)
    return found


@dataclass(slots=True)
class Twins:
    """A view and a plain directory beside it."""

    mount: Mounted
    plain: Path

    def same(self, work: Work, *, compare_trees: bool = True) -> Any:
        """Do `work` in a new directory of each; what it returned and what it left must be equal. Returns the former.

        An error that `work` does not catch fails the test, also where both sides raise it: the rest of the work would
        be compared on neither. What is to fail is called through `outcome`.
        """
        name = f"w{len(os.listdir(self.plain))}"
        results = []
        for root in (self.mount.path / name, self.plain / name):
            root.mkdir()
            results.append(work(root))
        assert results[0] == results[1], f"the view: {results[0]!r}; plain disk: {results[1]!r}"
        assert not compare_trees or tree(self.mount.path / name) == tree(self.plain / name)
        return results[0]
