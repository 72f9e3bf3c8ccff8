"""The memory of the daemon: to begin with, and for files that the kernel knows."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

from tests.bench import processes
from tests.bench.bench import At
from tests.bench.places import Bare, Place, View
from tests.bench.row import BARE, MOUNTED, Aim, Line, Row, Unit

MANY: Final = 1_000_000
_IN_EACH: Final = 1000
_EACH_AIM_BYTES: Final = 600


def grow(at: At) -> None:
    """Mount something empty, make files beneath, look at all of them through the mount."""
    _grow(at, "memory-start", "memory-known", "memory-each", at.scale.known_files)


def grow_large(at: At) -> None:
    """The same with a million."""
    _grow(at, "", "memory-million", "memory-each-million", MANY)


def after_all(at: At) -> None:
    """The daemons that have served this whole run until here, without what files may take that the kernel knows."""
    assert at.place.daemon is not None
    taken = processes.resident_bytes(at.place.daemon)
    if isinstance(at.place, View):
        taken -= _EACH_AIM_BYTES * at.place.status().files_known_to_the_kernel
    at.record("memory-end", (1.0, taken / 2**20))


def _grow(at: At, start: str, known: str, each: str, files: int) -> None:
    root = at.bench.directory / f"many-{at.place.name}"
    place: Place = Bare(root) if at.place.name == BARE else View(root)
    place.plain.mkdir()
    at.bench.closing(place)
    place.mount()
    while place.busy:
        time.sleep(0.05)
    assert place.daemon is not None
    before = processes.resident_bytes(place.daemon)
    _make(place.beneath, files)
    _look(place.root)
    after = processes.resident_bytes(place.daemon)
    if isinstance(place, View):
        known_files = place.status().files_known_to_the_kernel
        assert known_files >= files, f"the kernel has forgotten some: it knows {known_files}"
    place.umount()
    place.close()
    shutil.rmtree(place.plain)
    if start:
        at.record(start, (1.0, before / 2**20))
    at.record(known, (1.0, after / 2**20))
    at.record(each, (1.0, (after - before) / files))


def _make(root: Path, files: int) -> None:
    for first in range(0, files, _IN_EACH):
        directory = root / f"{first:07}"
        directory.mkdir()
        for number in range(first, min(first + _IN_EACH, files)):
            os.close(os.open(directory / f"file-{number:07}.bin", os.O_CREAT | os.O_WRONLY))


def _look(root: Path) -> None:
    """As find does: list, and stat what was listed."""
    for directory in os.scandir(root):
        for entry in os.scandir(directory):
            entry.stat(follow_symlinks=False)


_EACH_AIM: Final = Aim(at_most=_EACH_AIM_BYTES)

ROWS: Final = (
    Row(
        grow,
        (
            Line("memory-start", "memory of the daemon, to begin with", Unit.MIB, Aim(at_most=80)),
            Line("memory-known", "memory with {known_files:,} files known to the kernel", Unit.MIB),
            Line("memory-each", "memory for each file known to the kernel", Unit.BYTES, _EACH_AIM),
        ),
        places=MOUNTED,
        rounds_most=1,
    ),
    Row(
        after_all,
        (Line("memory-end", "memory at the end of this run, less 600 bytes a known file", Unit.MIB, Aim(at_most=80)),),
        places=MOUNTED,
        rounds_most=1,
    ),
)

LARGE: Final = (
    Row(
        grow_large,
        (
            Line("memory-million", "memory with 1,000,000 files known to the kernel", Unit.MIB),
            Line("memory-each-million", "memory for each of these", Unit.BYTES, _EACH_AIM),
        ),
        places=MOUNTED,
        rounds_most=1,
    ),
)
