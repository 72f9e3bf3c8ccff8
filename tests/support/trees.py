"""Tells how two directory trees differ: as copies of each other, or as what the same work left in two places."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# What legitimately differs between two runs of the same workload, each with its reason; and of course all times.
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
    owner: str
    mtime_ns: int  # 0 where times are not compared
    content: str  # the target of a symlink; size and sha256 of a file
    xattrs: str


Tree = dict[str, list[Entry]]


def differences(left: Path, right: Path) -> list[str]:
    """How `right` differs from `left`, as a copy of it would not: names, types, modes, owners, mtimes, targets, bytes.

    One line for each name; none if the trees are the same.
    """
    return compare(left, read_tree(left, exact=True), right, read_tree(right, exact=True))


def differences_of_runs(left: Path, right: Path) -> list[str]:
    """As `differences`, but for what may differ when the same work is done twice, in two places."""
    return compare(left, read_tree(left, exact=False), right, read_tree(right, exact=False))


def compare(left: Path, a: Tree, right: Path, b: Tree) -> list[str]:
    lines = [f"only in {left}: {name} {a[name]}" for name in sorted(a.keys() - b.keys())]
    lines += [f"only in {right}: {name} {b[name]}" for name in sorted(b.keys() - a.keys())]
    lines += [f"differs: {name}: {a[name]} != {b[name]}" for name in sorted(a.keys() & b.keys()) if a[name] != b[name]]
    return lines


def read_tree(root: Path, *, exact: bool) -> Tree:
    """Every name below `root` and what it is; unless `exact`, names that differ by chance only are listed together."""
    tree: Tree = {}
    for path in walk(root):
        name = os.path.relpath(path, root)
        if exact:
            tree[name] = [read_entry(path, content_of(path))]
        elif not LOGS.match(name):
            tree.setdefault(general_name(root, name), []).append(general_entry(root, path, name))
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


def read_entry(path: Path, content: str) -> Entry:
    info = path.lstat()
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    return Entry(
        kinds.get(stat.S_IFMT(info.st_mode), "other"),
        oct(stat.S_IMODE(info.st_mode)),
        f"{info.st_uid}:{info.st_gid}",
        info.st_mtime_ns,
        content,
        " ".join(sorted(os.listxattr(path, follow_symlinks=False))),
    )


def content_of(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if path.is_file():
        with path.open("rb") as file:
            return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
    return ""


def general_name(root: Path, name: str) -> str:
    name = name.replace(str(root).replace("/", "_"), "<root>")
    for pattern, replacement in RANDOM_NAMES:
        name = pattern.sub(replacement, name)
    return name


def general_entry(root: Path, path: Path, name: str) -> Entry:
    content = content_of(path)
    if path.is_symlink():
        content = content.replace(str(root), "<root>")
    elif path.is_file():
        if CONTENT_BY_TIME.search(f"/{name}"):
            content = ""
        elif path.stat().st_size <= PATHS_WITHIN_BYTES or FINGERPRINTED.search(name):
            data = FINGERPRINT.sub(b"<fingerprint>", path.read_bytes().replace(os.fsencode(root), b"<root>"))
            content = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    return replace(read_entry(path, content), mtime_ns=0)
