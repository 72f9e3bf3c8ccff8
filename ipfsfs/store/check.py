"""The store against itself, and against what is in the plain directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from ipfsfs.errors import StoreError
from ipfsfs.identity import Identity, PlainRoot
from ipfsfs.store import quarantine, recovery
from ipfsfs.store.index import Index
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.names import names_in
from ipfsfs.store.seal import Seal, root_of, unpack_leaves
from ipfsfs.store.tables.findings import Finding


class Remedy(Enum):
    """What `repair` does about a problem."""

    CLOSE_TO_OTHERS = "take it from other users"
    NEW_LEDGER = "make a new ledger and index; findings are lost, files are not"
    NEW_INDEX = "remove the index; the next mount makes it anew"
    DROP_SEAL = "forget the seal; the file is sealed again"
    REMOVE_LEFT_OVER = "remove it"
    NONE = ""


@dataclass(slots=True, frozen=True)
class Problem:
    """Something wrong with the store: what, where in it, and what can be done. `ino` is of the seal in question."""

    what: str
    where: str
    remedy: Remedy
    ino: int = 0


_DATABASES: Final = ("index", "index-wal", "index-shm", "ledger", "ledger-wal", "ledger-shm", "ledger.unreadable")
_DAEMONS: Final = ("log", "control.sock", "ended", "ended.new", "lingering")
"""What the daemon and its guardian leave in the store; `fsck` looks at their modes only."""
_KNOWN: Final = frozenset((*_DATABASES, *_DAEMONS, "blocks", "extents", "format", "format.new", "lock", "quarantine"))


def check(store: Store, *, plain_root: PlainRoot) -> list[Problem]:
    """The problems of a store that is locked by us, with its databases closed.

    Nothing is changed but what opening a database changes. Raises StoreError where the store cannot be read at all.
    """
    problems = [*_check_files(store), *_check_quarantine(store)]
    if store.ledger_file.exists():
        problems += _check_ledger(store)
    elif store.index_file.exists():
        problems.append(
            Problem("which seals hold no longer is not known: there is no ledger", "index", Remedy.NEW_INDEX)
        )
    if store.index_file.exists():
        problems += _check_index(store, plain_root)
    return problems


def repair(store: Store, problems: Iterable[Problem], *, plain_root: PlainRoot) -> None:
    """Do what each problem's remedy says. Raises StoreError."""
    problems = list(problems)
    remedies = {problem.remedy for problem in problems}
    for problem in problems:
        if problem.remedy is Remedy.CLOSE_TO_OTHERS:
            _close_to_others(store, problem.where)
        elif problem.remedy is Remedy.REMOVE_LEFT_OVER:
            quarantine.remove(store.quarantine_fd, problem.where.partition("/")[2])
    if Remedy.NEW_LEDGER in remedies:
        recovery.rebuild_ledger(store).close()
    elif Remedy.NEW_INDEX in remedies:
        recovery.remove_index(store)
    elif Remedy.DROP_SEAL in remedies:
        index = Index.open(store.index_file, plain_root=plain_root)
        try:
            index.drop(problem.ino for problem in problems if problem.remedy is Remedy.DROP_SEAL)
        finally:
            index.close()


class Seen(Protocol):
    """A file of the plain directory, with its identity when it was listed."""

    @property
    def path(self) -> bytes: ...
    @property
    def identity(self) -> Identity: ...


@dataclass(slots=True)
class Comparison:
    """The index against the plain directory: how many files are sealed as they are, which have changed since, which
    have no seal, and of which inodes there is a seal but no file."""

    sealed: int = 0
    changed: list[bytes] = field(default_factory=list)
    unsealed: list[bytes] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)


def withdrawn(store: Store) -> list[Finding]:
    """Files that lie under hidden names in the plain directory because the quarantine did not take them, as far as the
    ledger can be read. They are no problem of the store's."""
    if not store.ledger_file.exists():
        return []
    try:
        ledger = Ledger.open(store.ledger_file)
        try:
            return [finding for finding in ledger.findings.all() if finding.kind == "withdrawn"]
        finally:
            ledger.close()
    except StoreError:
        return []


def compare(index: Index, files: Iterable[Seen]) -> Comparison:
    """Compare the index with all files of the plain directory that are to have a seal. Raises StoreError.

    To drop the seals of what is `gone`, and of what must have no seal any more, is the caller's.
    """
    result = Comparison()
    seen = set()
    for file in files:
        seen.add(file.identity.ino)
        seal = index.get(file.identity.ino)
        if seal is None:
            result.unsealed.append(file.path)
        elif seal.identity == file.identity:
            result.sealed += 1
        else:
            result.changed.append(file.path)
    result.gone = [seal.ino for seal in index.iterate() if seal.ino not in seen]
    return result


def _check_files(store: Store) -> list[Problem]:
    problems = []
    try:
        for name in sorted(names_in(store.fd)):
            if name not in _KNOWN:
                problems.append(Problem("it is not ours", name, Remedy.NONE))
                continue
            mode = os.stat(name, dir_fd=store.fd, follow_symlinks=False).st_mode
            if mode & 0o077 and not (stat.S_ISLNK(mode) or stat.S_ISSOCK(mode)):
                problems.append(Problem("other users may use it", name, Remedy.CLOSE_TO_OTHERS))
    except OSError as error:
        raise StoreError(f"the store {store.directory} cannot be read: {error.strerror}") from error
    return problems


def _check_quarantine(store: Store) -> list[Problem]:
    problems = [
        Problem("it was left when a file was not put there after all", f"quarantine/{name}", Remedy.REMOVE_LEFT_OVER)
        for name in quarantine.left_over(store.quarantine_fd)
    ]
    for kept in quarantine.kept(store.quarantine_fd):
        where = f"quarantine/{kept.stored_as}"
        if kept.stored_as.endswith(quarantine.NOTE_SUFFIX) and kept.note is None:
            problems.append(Problem("it is a note about a file that is not there", where, Remedy.REMOVE_LEFT_OVER))
        elif kept.note is None:
            problems.append(Problem("no note says where it came from", where, Remedy.NONE))
    return problems


def _check_ledger(store: Store) -> list[Problem]:
    try:
        ledger = Ledger.open(store.ledger_file)
        try:
            return [Problem(what, "ledger", Remedy.NEW_LEDGER) for what in ledger.integrity()]
        finally:
            ledger.close()
    except StoreError as error:
        return [Problem(str(error), "ledger", Remedy.NEW_LEDGER)]


def _check_index(store: Store, plain_root: PlainRoot) -> list[Problem]:
    try:
        index = Index.open(store.index_file, plain_root=plain_root, renew=False)
        try:
            if structure := index.integrity():
                return [Problem(what, "index", Remedy.NEW_INDEX) for what in structure]
            damaged = [Problem("a row is damaged", "index", Remedy.DROP_SEAL, ino) for ino in index.damaged()]
            return damaged + [
                Problem(what, "index", Remedy.DROP_SEAL, seal.ino) for seal in index.iterate() if (what := _wrong(seal))
            ]
        finally:
            index.close()
    except StoreError as error:
        return [Problem(str(error), "index", Remedy.NEW_INDEX)]


def _wrong(seal: Seal) -> str:
    """What in a seal contradicts itself; empty where nothing does."""
    if sum(length for length, _ in unpack_leaves(seal.leaves)) != seal.size:
        return "the leaves of a file are not as long as the file"
    if root_of(seal.leaves) != seal.root:
        return "the root of a file is not that of its leaves"
    return ""


def _close_to_others(store: Store, name: str) -> None:
    try:
        mode = os.stat(name, dir_fd=store.fd, follow_symlinks=False).st_mode
        os.chmod(name, stat.S_IMODE(mode) & 0o700, dir_fd=store.fd)
    except OSError as error:
        raise StoreError(f"{store.directory}/{name}: {error.strerror}") from error
