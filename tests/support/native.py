"""Views over a filesystem that checks what it reads, where the kernel reads large sealed files itself. Needs root."""

from __future__ import annotations

from pathlib import Path

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.metrics import Question
from tests.support.mounted import Mounted


def counted(mount: Mounted, metric: str) -> float:
    """The value of a metric without labels."""
    return next(one.value for one in ask(mount.store, Question()).samples if one.name == metric)


def read_by_the_kernel(mount: Mounted, path: Path) -> bool:
    """Read a file, and say whether the kernel did so itself, and asked the daemon for none of it."""
    opens, reads = (counted(mount, f"ipfsfs_{what}_total") for what in ("native_opens", "reads"))
    path.read_bytes()
    asked = counted(mount, "ipfsfs_reads_total") - reads
    return counted(mount, "ipfsfs_native_opens_total") == opens + 1 and not asked
