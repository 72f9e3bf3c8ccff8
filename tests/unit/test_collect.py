"""Which placeholders there are, while names move."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from ipfsfs.errors import IpfsfsError
from ipfsfs.exchange.collect import roots_of_placeholders
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.reference import Reference

ROOT = cid.raw_cid(bytes(32))


@dataclass(slots=True)
class Renames:
    """Renames a directory back to where it is found whenever it is asked, as long as it is to; the walk before that
    has not met it."""

    hidden: Path
    found: Path
    left: int
    _count: int = 0

    @property
    def moves(self) -> int:
        """As `Moving`."""
        self._count += self.left > 0
        if self.left and self.hidden.exists() and self._count % 2 == 0:
            self.hidden.rename(self.found)
        self.left = max(0, self.left - 1)
        return self._count


def test_a_placeholder_that_moved_while_the_directory_was_walked_is_found(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "out").mkdir()
    os.symlink(reference.text(Reference(ROOT, 5, 0o644, None)), os.fsencode(tmp_path / "out" / "file"))
    plain = PlainDirectory.open(tmp_path / "root")
    try:
        renames = Renames(tmp_path / "out", tmp_path / "root" / "in", 2)
        assert trio.run(roots_of_placeholders, plain, renames) == {ROOT}
        with pytest.raises(IpfsfsError, match="renamed all the time"):
            trio.run(roots_of_placeholders, plain, Renames(tmp_path / "out", tmp_path / "root" / "in", 1000))
    finally:
        plain.close()
