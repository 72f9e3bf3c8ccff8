"""Tells how two directory trees differ, but for what may differ when the same work is done twice."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What legitimately differs between two runs of the same workload, each with its reason. Times are not compared at all.
RANDOM_NAMES = (
    # Downloads in flight that a kill left behind carry a random part.
    (re.compile(r"\.[0-9a-f]{8}\.incomplete$"), ".<random>.incomplete"),
    # The datasets library derives the names of derived files from the times of their sources.
    (re.compile(r"\bcache-[0-9a-f]{16}(?=[._])"), "cache-<fingerprint>"),
    (re.compile(r"\btmp[a-z0-9_]{8}\b"), "tmp<random>"),
)
# Logs, named by time and process; the directory itself is compared.
LOGS = re.compile(r"^xet/logs/")
# CPython writes the source's time into them.
CONTENT_BY_TIME = re.compile(r"/__pycache__/.*\.pyc$")
# Arrow files carry the same fingerprint in their schema.
FINGERPRINTED = re.compile(r"\.arrow$")
FINGERPRINT = re.compile(rb'"fingerprint": "[0-9a-f]{16}"')
# Above this size other files are content, which names no path of the machine.
PATHS_WITHIN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """What is compared of one name."""

    kind: str
    mode: str
    content: str  # the target of a symlink; size and sha256 of a file
    xattrs: str


def differences(left: Path, right: Path) -> list[str]:
    """One line for each name that is missing, added or other in `right`; none if the trees are the same."""
    a, b = read_tree(left), read_tree(right)
    lines = [f"only in {left}: {name} {a[name]}" for name in sorted(a.keys() - b.keys())]
    lines += [f"only in {right}: {name} {b[name]}" for name in sorted(b.keys() - a.keys())]
    lines += [f"differs: {name}: {a[name]} != {b[name]}" for name in sorted(a.keys() & b.keys()) if a[name] != b[name]]
    return lines


def read_tree(root: Path) -> dict[str, list[Entry]]:
    """Every name below `root` and what it is; names that differ in their random part only are listed together."""
    tree: dict[str, list[Entry]] = {}
    for path in walk(root):
        name = os.path.relpath(path, root)
        if LOGS.match(name):
            continue
        plain_name = name.replace(str(root).replace("/", "_"), "<root>")
        for pattern, replacement in RANDOM_NAMES:
            plain_name = pattern.sub(replacement, plain_name)
        tree.setdefault(plain_name, []).append(read_entry(root, path, name))
    for entries in tree.values():
        entries.sort()
    return tree


def walk(root: Path) -> Iterator[Path]:
    yield root
    with os.scandir(root) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        else:
            yield Path(entry.path)


def read_entry(root: Path, path: Path, name: str) -> Entry:
    info = path.lstat()
    content = ""
    if stat.S_ISLNK(info.st_mode):
        content = str(path.readlink()).replace(str(root), "<root>")
    elif stat.S_ISREG(info.st_mode) and not CONTENT_BY_TIME.search(f"/{name}"):
        with path.open("rb") as file:
            if info.st_size <= PATHS_WITHIN_BYTES or FINGERPRINTED.search(name):
                data = FINGERPRINT.sub(b"<fingerprint>", file.read().replace(os.fsencode(root), b"<root>"))
                content = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
            else:
                content = f"{info.st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    xattrs = sorted(os.listxattr(path, follow_symlinks=False))
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}.get(
        stat.S_IFMT(info.st_mode), "other"
    )
    return Entry(kind, oct(stat.S_IMODE(info.st_mode)), content, " ".join(xattrs))
