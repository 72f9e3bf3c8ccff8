"""What lies in the quarantine, for people: where it stood, what it is, and the way back."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ipfsfs.errors import UsageError
from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import command
from ipfsfs.store import quarantine
from ipfsfs.store.quarantine import Kept, Quarantine, Usage
from ipfsfs.store.tables.findings import Findings

Way = Literal["restore", "restored", "copy"]
"""How its bytes are had again. `restore`: they are what its path promises, and that does not have them: `ipfsfs restore
PATH` puts them back. `restored`: they are what its path promises, and nothing wrong is known of that. `copy`: they are
not, and who wants them takes a copy."""


@dataclass(slots=True, frozen=True)
class Aside:
    """A file in the quarantine: its name there, its size in bytes, and what is noted of it. `path`: where it stood or
    was to stand, from the root, `why` and `when` it was put here; all empty where there is no note."""

    stored_as: str
    size: int
    path: str
    why: str
    when: str
    way: Way


def look(
    where: Quarantine, plain: PlainDirectory, findings: Findings, remove: Collection[str], *, remove_all: bool
) -> tuple[tuple[Aside, ...], Usage]:
    """What lies there, or what of it is removed; and how much is taken afterwards. Waits for the disk.

    Raises UsageError for a name that is not there, before anything is removed; StoreError.
    """
    kept = quarantine.kept(where.fd)
    unknown = sorted(set(remove) - {item.stored_as for item in kept})
    if unknown:
        raise UsageError(
            f"nothing in the quarantine is called {unknown[0]!r}",
            hint=f"To see what is there: {command('quarantine ls')}",
        )
    gone = [item for item in kept if remove_all or item.stored_as in remove]
    told = tuple(_aside(item, plain, findings) for item in (gone if remove or remove_all else kept))
    for item in gone:
        quarantine.remove(where.fd, item.stored_as)
    return told, where.usage()


def _aside(item: Kept, plain: PlainDirectory, findings: Findings) -> Aside:
    note = {name: str(value) for name, value in (item.note or {}).items()}
    path = note.get("path", "")
    way: Way = "copy"
    if path and note.get("actual_sha256") and note["actual_sha256"] == note.get("promised_sha256"):
        raw = os.fsencode(path)
        is_wrong = any(findings.has(raw, kind) for kind in ("broken_promise", "rot", "unreadable"))
        way = "restore" if is_wrong or not _is_there(plain, raw) else "restored"
    return Aside(item.stored_as, item.size, path, note.get("why", ""), note.get("when", ""), way)


def _is_there(plain: PlainDirectory, path: bytes) -> bool:
    try:
        os.close(syscalls.open_beneath(plain.fd, path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True
