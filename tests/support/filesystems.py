"""Filesystems made for a test: small ones, and ones whose disk can be spoiled beneath them. Needs root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.processes import wait_until_unused

KINDS: Final = ("ext4", "xfs", "btrfs")
"""The filesystems that caches lie on."""
_MAKE: Final = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}


@contextmanager
def mounted_tmpfs(beside: Path, options: str) -> Iterator[Path]:
    """A tmpfs while the block runs."""
    at = beside / "tmpfs"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", at], check=True)
    try:
        yield at
    finally:
        wait_until_unused(at)
        subprocess.run(["umount", at], check=True)


def new_image(path: Path, kind: str, size_mib: int, *options: str) -> Path:
    """A file that holds an empty filesystem of a kind; only what is written to it takes room. `options`: of mkfs."""
    with path.open("wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run([f"mkfs.{kind}", *_MAKE[kind], *options, path], check=True, capture_output=True, text=True)
    return path


def new_ext4_image(path: Path, size_mib: int = 64, *options: str) -> Path:
    """A file that holds an empty ext4."""
    return new_image(path, "ext4", size_mib, *options)


@contextmanager
def mounted_image(image: Path, at: Path, *options: str) -> Iterator[Path]:
    """An image, mounted over a loop device while the block runs. `options`: of the mount."""
    at.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", ",".join(("loop", *options)), image, at], check=True)
    try:
        yield at
    finally:
        wait_until_unused(at)
        subprocess.run(["umount", at], check=True)
