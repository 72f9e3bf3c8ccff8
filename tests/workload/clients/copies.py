"""Copies a snapshot in all the ways Python's users do: into the cache, out of it, within it, by sendfile, by moving.

    python -m tests.workload.clients.copies SNAPSHOT INSIDE OUTSIDE

INSIDE is a directory to make in the cache, OUTSIDE one on other ground. Prints the sha256 of every copy by its name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path


def send(source: Path, target: Path) -> None:
    """As shutil does it, but unaligned and in small steps, which a copy in the kernel's own sizes would not try."""
    with source.open("rb") as reader, target.open("wb") as writer:
        offset = 0
        while sent := os.sendfile(writer.fileno(), reader.fileno(), offset, 100_003):
            offset += sent


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    snapshot, inside, outside = (Path(arg) for arg in sys.argv[1:4])
    weights = snapshot / "model.safetensors"
    inside.mkdir()
    outside.mkdir()

    shutil.copyfile(weights, outside / "copyfile")
    shutil.copyfile(weights, inside / "copyfile")
    shutil.copy2(outside / "copyfile", inside / "copy2-from-outside")
    shutil.copy(weights, inside / "copy")
    send(weights, inside / "sendfile-within")
    send(weights, outside / "sendfile-out")
    send(outside / "copyfile", inside / "sendfile-in")
    shutil.copytree(snapshot, inside / "tree-of-links", symlinks=True)
    shutil.copytree(snapshot, inside / "tree-of-files")
    shutil.move(outside / "sendfile-out", inside / "moved-in")
    shutil.move(inside / "copy", outside / "moved-out")
    shutil.move(inside / "tree-of-files", inside / "tree-renamed")
    os.replace(inside / "moved-in", inside / "copyfile")
    shutil.copytree(snapshot, inside / "tree-to-remove")
    shutil.rmtree(inside / "tree-to-remove")
    (inside / "hard").hardlink_to(inside / "copyfile")

    links = sorted(str(path.readlink()) for path in (inside / "tree-of-links").rglob("*") if path.is_symlink())
    print(json.dumps({"inside": digests(inside), "outside": digests(outside), "links": links}))


if __name__ == "__main__":
    main()
