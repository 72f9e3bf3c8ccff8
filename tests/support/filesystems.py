"""Filesystems made for a test: small ones, and ones whose disk can be spoiled beneath them. Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted_tmpfs(beside: Path, options: str) -> Iterator[Path]:
    """A tmpfs while the block runs."""
    at = beside / "tmpfs"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def new_ext4_image(path: Path, size_mib: int = 64) -> Path:
    """A file that holds an empty ext4."""
    with path.open("wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", path], check=True)
    return path


@contextmanager
def mounted_image(image: Path, at: Path) -> Iterator[Path]:
    """An image, mounted over a loop device while the block runs."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)
