"""Files at promised names: right and wrong ones, made as clients make them."""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any, Final

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.questions.status import Question
from tests.support.mounted import Mounted

RIGHT: Final = random.Random(1).randbytes(400_000)
NAME: Final = hashlib.sha256(RIGHT).hexdigest()
"""The name that promises `RIGHT`."""
WRONG: Final = RIGHT[:200_000] + bytes([RIGHT[200_000] ^ 1]) + RIGHT[200_001:]


def blobs(mount: Mounted, repo: str = "models--org--name") -> Path:
    """The directory of a repository's blobs, made where there is none."""
    directory = mount.path / "hub" / repo / "blobs"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def download(directory: Path, data: bytes, name: str = NAME) -> Path:
    """As the client of the Hub does it: under a temporary name, then renamed."""
    (directory / f"{name}.incomplete").write_bytes(data)
    return (directory / f"{name}.incomplete").rename(directory / name)


def status(mount: Mounted) -> dict[str, Any]:
    """What the daemon says of itself."""
    return encode(ask(mount.store, Question()))


def quarantined(mount: Mounted) -> list[str]:
    """The names of what lies in quarantine."""
    return [item["stored_as"] for item in status(mount)["quarantine"]]


def is_sealed(path: Path) -> bool:
    """Whether a file has a CID."""
    try:
        return bool(os.getxattr(path, "ipfs.cid"))
    except OSError:
        return False


def leave_alone(path: Path, seconds: float) -> None:
    """Make a file one that was last written so long ago."""
    when = time.time() - seconds
    os.utime(path, (when, when))
