"""The quarantine: names for what is put there, and a note beside each that says where it came from.

Whoever puts a file there moves it in by a rename to `Store.quarantine_fd`, or, across filesystems, copies it to what
`open_new` gives. The note is written first, so that nothing ever lies there unexplained.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import StoreError
from ipfsfs.store.ledger import Quarantined

NOTE_SUFFIX: Final = ".json"

_KEPT_OF_NAME: Final = 120
_NOTE: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}-[0-9a-f]{64}" + re.escape(NOTE_SUFFIX))
"""The name of a note, of which even an empty one is no content: what is put here has promised names."""
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")


@dataclass(slots=True, frozen=True)
class Kept:
    """A file in the quarantine: its name there, its size in bytes, and what its note says (None without a note)."""

    stored_as: str
    size: int
    note: dict[str, str | int] | None


def name_for(path: bytes, when_ns: int) -> str:
    """A new name (at most 160 ASCII characters) for content that was to stand at `path`: time, something random, and
    the last component. Names sort by time."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when_ns // 1_000_000_000))
    last = _UNSAFE.sub(b"_", path.rpartition(b"/")[2])[-_KEPT_OF_NAME:]
    return f"{moment}-{secrets.token_hex(4)}-{last.decode('ascii')}"


def write_note(quarantine_fd: int, item: Quarantined) -> None:
    """Write the note that belongs to `item.stored_as`. Raises StoreError."""
    note = {
        "path": item.name.decode("utf-8", "backslashreplace"),
        "promised_sha256": item.promised.hex(),
        "actual_sha256": item.actual.hex(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.when_ns // 1_000_000_000)),
        "why": item.why,
    }
    try:
        with open(open_new(quarantine_fd, item.stored_as + NOTE_SUFFIX), "w", encoding="ascii") as file:
            json.dump(note, file, indent=2)
            file.write("\n")
    except OSError as error:
        raise StoreError(f"cannot write to the quarantine: {error.strerror}") from error


def open_new(quarantine_fd: int, name: str) -> int:
    """A new, empty file in the quarantine, open for writing; for content that cannot be moved there. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=quarantine_fd)


def kept(quarantine_fd: int) -> list[Kept]:
    """What is in the quarantine, the oldest first. Raises StoreError."""
    try:
        names = set(os.listdir(quarantine_fd))
        found = []
        for name in sorted(names):
            if not (name.endswith(NOTE_SUFFIX) and name.removesuffix(NOTE_SUFFIX) in names):
                st = os.stat(name, dir_fd=quarantine_fd, follow_symlinks=False)
                note = _read_note(quarantine_fd, name + NOTE_SUFFIX)
                found.append(Kept(name, st.st_size, note))
        return found
    except OSError as error:
        raise StoreError(f"cannot read the quarantine: {error.strerror}") from error


def remove(quarantine_fd: int, name: str) -> None:
    """Remove a file from the quarantine, and its note. Raises StoreError."""
    try:
        os.unlink(name, dir_fd=quarantine_fd)
        with suppress(FileNotFoundError):
            os.unlink(name + NOTE_SUFFIX, dir_fd=quarantine_fd)
    except OSError as error:
        raise StoreError(f"cannot remove {name} from the quarantine: {error.strerror}") from error


def tidy(quarantine_fd: int) -> None:
    """Remove notes about files that never came, since the daemon died in between. Raises StoreError."""
    for item in kept(quarantine_fd):
        if item.note is None and _NOTE.fullmatch(item.stored_as):
            remove(quarantine_fd, item.stored_as)


def _read_note(quarantine_fd: int, name: str) -> dict[str, str | int] | None:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=quarantine_fd), "rb") as file:
            note = json.loads(file.read(65_536))
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) else None
