"""What a path is, in facts: for `why`, with a daemon or without one."""

from __future__ import annotations

import errno
import os
import stat as stat_
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfsfs.errors import IpfsfsError, StoreError, UsageError
from ipfsfs.hubcache.classify import Kind, locate, promise, root_place
from ipfsfs.hubcache.secret import SEARCH_MAX, looks_secret
from ipfsfs.plain import quiet, syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Finding, Ledger
from ipfsfs.store.seal import Seal
from ipfsfs.unixfs import cid

_LEAVES_SHOWN: Final = 16
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)

_WORDS: Final = {
    Kind.SECRET: "a secret: it never gets a CID and never leaves this machine",
    Kind.SCRATCH: "scratch: in use for a moment only, never sealed",
    Kind.PROMISE: "a promise: its name says what its sha256 must be",
    Kind.CONTENT: "content",
}


def unreachable(path: Path, error: OSError) -> IpfsfsError:
    """What to tell who named a path that cannot be had: wrong usage where nothing is there, else a failure."""
    kind = UsageError if error.errno in _NOT_THERE else IpfsfsError
    return kind(f"{path}: {error.strerror}")


def see(plain: PlainDirectory, root: Path, path: bytes) -> int:
    """A descriptor (O_PATH) of what is at a path below the plain root, which users know as `root`.

    Raises UsageError where nothing is there, or a symlink on the way leads elsewhere; IpfsfsError where it is out of
    reach.
    """
    try:
        return syscalls.open_beneath(plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError as error:
        raise unreachable(root / os.fsdecode(path), error) from error


@dataclass(slots=True, frozen=True)
class Known:
    """Where to look up what is known of a path. `unsealed` and `changed` say what becomes of a file without a seal."""

    plain: PlainDirectory
    root: Path
    index: Index | None
    ledger: Ledger
    degraded: str = ""
    unsealed: str = "not yet: it is being written, was changed just now, or its turn has not come"
    changed: str = "it was changed since it was sealed; it will be sealed again"


def explain(known: Known, path: bytes) -> dict[str, Any]:
    """What a path below the plain root is, whether it is sealed or why not, what was found wrong with it, its identity,
    CID and leaves.

    Raises as `see` does, and StoreError where the ledger cannot be read.
    """
    plain, root = known.plain, known.root
    fd = see(plain, root, path)
    try:
        st = os.fstat(fd)
        born_ns = syscalls.birth_time_ns(fd)
        if stat_.S_ISLNK(st.st_mode):
            target = os.fsdecode(os.readlink(b"", dir_fd=fd))
            return {"path": os.fsdecode(path), "what": f"a symlink to {target}", "sealed": False}
    finally:
        os.close(fd)
    if stat_.S_ISDIR(st.st_mode):
        return {"path": os.fsdecode(path), "what": "a directory: its files are sealed one by one", "sealed": False}
    place, kind = locate(path, root_place(os.fsencode(root)))
    if _gives_a_secret_away(plain, path, st):
        kind = Kind.SECRET
    facts: dict[str, Any] = {"path": os.fsdecode(path), "kind": kind.value, "what": _WORDS[kind]}
    promised = promise(place, path.rpartition(b"/")[2])
    if promised is not None:
        facts["promised_sha256"] = promised.hex()
    seal, reason = _seal_of(known, kind, st)
    facts["sealed"] = seal is not None
    facts["why"] = reason
    facts["wrong"] = findings_as_facts([found for found in known.ledger.findings() if found.path == path])
    facts["identity"] = {
        "inode": st.st_ino,
        "born_ns": born_ns,
        "size": st.st_size,
        "mtime_ns": st.st_mtime_ns,
        "ctime_ns": st.st_ctime_ns,
    }
    if seal is not None:
        facts.update(_of_seal(seal))
    return facts


def _seal_of(known: Known, kind: Kind, st: os.stat_result) -> tuple[Seal | None, str]:
    if kind in (Kind.SECRET, Kind.SCRATCH):
        return None, f"{kind.value} is never sealed"
    if not stat_.S_ISREG(st.st_mode):
        return None, "only regular files are sealed"
    if st.st_dev != known.plain.dev:
        return None, "it lies on another filesystem than the directory's own"
    if known.index is None:
        return None, known.degraded or "there is no index"
    try:
        seal = known.index.get(st.st_ino)
    except StoreError as error:
        return None, str(error)
    if seal is None:
        return None, known.unsealed
    if not seal.agrees(st):
        return None, known.changed
    return seal, "sealed" if seal.leased else "sealed, though nobody could tell whether it was being written meanwhile"


def _gives_a_secret_away(plain: PlainDirectory, path: bytes, st: os.stat_result) -> bool:
    """Whether a file holds a secret, whatever its name is, as far as that can be seen."""
    if not stat_.S_ISREG(st.st_mode) or st.st_size > SEARCH_MAX:
        return False
    try:
        with open(quiet.open_regular(plain.fd, path), "rb") as file:
            return looks_secret(file.read(SEARCH_MAX))
    except OSError:
        return False


def _of_seal(seal: Seal) -> dict[str, Any]:
    leaves = [
        {"cid": cid.to_text(cid.raw_cid(digest)), "length": length}
        for (length, digest), _ in zip(seal.iter_leaves(), range(_LEAVES_SHOWN), strict=False)
    ]
    count = len(seal.leaves) // 36
    return {
        "cid": cid.to_text(seal.root),
        "chunker": seal.chunker,
        "sha256": seal.sha256.hex(),
        "leased": seal.leased,
        "settled": seal.settled,
        "leaf_count": count,
        "leaves": leaves,
        "leaves_not_shown": max(0, count - _LEAVES_SHOWN),
    }


def findings_as_facts(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings for `status` and `verify`."""
    return [
        {
            "kind": finding.kind,
            "path": os.fsdecode(finding.path),
            "detail": finding.detail,
            "who": finding.who,
            "when": finding.when_ns // 1_000_000_000,
        }
        for finding in findings
    ]
