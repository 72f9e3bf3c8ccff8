"""Views over a filesystem that checks what it reads, where the kernel reads large sealed files itself. Needs root."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.metrics import Question
from tests.support.mounted import Mounted

NATIVE: Final = ("--check", "native", "--native-from", "1")
"""How a view is mounted where any file that holds a byte is native, as soon as it was sealed."""
CHECKED: Final = ("--check", "read", "--native-from", "1TB")
"""How a view is mounted where the daemon answers all reads, whatever the filesystem checks."""


def counted(mount: Mounted, metric: str) -> float:
    """The value of a metric without labels."""
    return next(one.value for one in ask(mount.store, Question()).samples if one.name == metric)


def read_by_the_kernel(mount: Mounted, path: Path) -> bool:
    """Open a file, have its pages dropped, read it all, and say whether the daemon was asked for none of it."""
    before = counted(mount, "ipfsfs_reads_total")
    path.read_bytes()
    return counted(mount, "ipfsfs_reads_total") == before
