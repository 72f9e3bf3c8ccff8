"""Where the tests of one run put their files: on a filesystem of another kind than the machine's, where that is asked
for (`pytest --filesystem xfs`).

As a command, `python -m tests.support.place_of_tests xfs` says whether that can be had on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.filesystems import new_image

_SIZE_MIB: Final = 16 * 1024


@dataclass(slots=True)
class PlaceOfTests:
    """A mounted image, which TMPDIR leads to until it is given up. Its path is short: sockets below it have paths too,
    of 107 bytes at most."""

    directory: Path
    image: Path
    before: str | None

    @classmethod
    def make(cls, kind: str) -> PlaceOfTests:
        """Make and mount an image of a kind. Raises OSError and CalledProcessError where that cannot be done."""
        place = cls(Path(tempfile.mkdtemp(prefix="fs-")), Path(tempfile.mkdtemp()) / kind, os.environ.get("TMPDIR"))
        try:
            new_image(place.image, kind, _SIZE_MIB)
            command: list[str | Path] = ["mount", "-o", "loop", place.image, place.directory]
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError):
            place.give_up()
            raise
        place.directory.chmod(0o1777)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place.directory)
        return place

    def give_up(self) -> None:
        """Unmount and remove it."""
        tempfile.tempdir = None
        os.environ.pop("TMPDIR", None)
        if self.before is not None:
            os.environ["TMPDIR"] = self.before
        if self.directory.is_mount():  # lazily: a test that failed may have left something behind that uses it
            subprocess.run(["umount", "--lazy", self.directory], check=True)
        self.directory.rmdir()
        shutil.rmtree(self.image.parent)


def main() -> int:
    try:
        PlaceOfTests.make(sys.argv[1]).give_up()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{error}: {getattr(error, 'stderr', '') or ''}".strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
