"""Reading everything again: checksums, CIDs and promises, from the disk and not from its cache."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.place import Place, locate
from ipfsfs.exchange.whereabouts import SharedPromises
from ipfsfs.plain import reaching
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.tree import Found, Unreadable
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import boot_id
from ipfsfs.store.tables.findings import Finding, FindingKind
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Digest, Failed, Gone, Verified

_DETAILS: Final[dict[FindingKind, str]] = {
    "rot": "the disk returns other bytes than were written",
    "unreadable": "the disk cannot read part of it",
    "broken_promise": "its content is not what its name promises",
}
_OF_DISK: Final = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)
"""What a filesystem answers where the disk, or what it has there, is damaged."""


@dataclass(slots=True, frozen=True)
class Progress:
    """How many files and bytes were read so far, and the path (from the plain root) of the file that is being read."""

    files: int
    bytes: int
    path: str


@dataclass(slots=True, frozen=True)
class WrongFile:
    """A file that is not as it should be: its path from the plain root, and what is wrong in words."""

    path: str
    kind: FindingKind
    detail: str


@dataclass(slots=True)
class Verification:
    """How many files and bytes were read, and what was found. `unsealed` files had no seal to compare with; `changed`
    of these had one that holds no longer, and `changed_inodes` names them. `sound`: the roots of sealed files of which
    nothing is wrong, by inode, as far as they were asked for."""

    sound: dict[int, bytes] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0
    unsealed: int = 0
    changed: int = 0
    wrong: list[WrongFile] = field(default_factory=list)
    changed_inodes: list[int] = field(default_factory=list)


async def verify(
    sealer: Sealer,
    index: Index,
    ledger: Ledger,
    plain: PlainDirectory,
    root_place: Place,
    paths: Sequence[bytes],
    report: Callable[[Progress], None],
    asked_for: Container[int] = (),
) -> Verification:
    """Verify all files below `paths` (from the plain root). What is wrong is entered in the ledger, what proved right
    again or is gone is taken out of it. `asked_for`: the inodes of which `sound` is to tell. Raises StoreError and
    SealerLost."""
    result = Verification()
    known: set[tuple[bytes, FindingKind]] = {
        (finding.path, finding.kind)
        for finding in await trio.to_thread.run_sync(ledger.findings.all)
        if finding.kind != "withdrawn" or reaching.reach(plain.fd, finding.path) is None
    }
    shared = SharedPromises(plain.fd)
    for path in paths:
        async with sealer.walk(path) as batches:
            async for batch in batches:
                for found in batch:
                    name = locate(found.path, root_place)[1]
                    if not name.is_sealed:
                        continue
                    promised = name.promise or await trio.to_thread.run_sync(shared.of, found.path)
                    wrong = await _verify_one(sealer, index, plain, promised, found, result, report)
                    if wrong is None and found.ino in asked_for:
                        seal = index.get(found.ino)
                        if seal is not None and seal.identity == found.identity:
                            result.sound[found.ino] = seal.root
                    await _enter(ledger, known, found, wrong, result)
                    known -= {(found.path, kind) for kind in _DETAILS}
            result.wrong += [_unlisted(one) for one in batches.unreadable if one.errno in _OF_DISK]
        for gone, _ in [item for item in known if _is_below(item[0], path)]:
            await trio.to_thread.run_sync(ledger.findings.clear, gone)
    return result


def _unlisted(directory: Unreadable) -> WrongFile:
    detail = (
        f"the directory cannot be listed, so that nothing is known of what is in it: {os.strerror(directory.errno)}"
    )
    return WrongFile(os.fsdecode(directory.path), "unreadable", detail)


def _is_below(path: bytes, prefix: bytes) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + b"/")


async def _verify_one(
    sealer: Sealer,
    index: Index,
    plain: PlainDirectory,
    promised: bytes | None,
    found: Found,
    result: Verification,
    report: Callable[[Progress], None],
) -> FindingKind | None:
    """What is wrong with one file, if anything."""
    seal = index.get(found.ino)

    def tell(done: int) -> None:
        report(Progress(result.files, result.bytes + done, os.fsdecode(found.path)))

    wrong: FindingKind | None = None
    if seal is None or seal.identity != found.identity:
        result.unsealed += 1
        if seal is not None:
            result.changed += 1
            result.changed_inodes.append(found.ino)
        read = await sealer.read(found.path, found.ino, tell)
        if is_unreadable(read):
            wrong = "unreadable"
        elif promised is not None:
            digest = await sealer.digest(found.path, found.ino, promised)
            if isinstance(digest, Digest) and digest.sha256 != promised:
                wrong = "broken_promise"
    else:
        verified = await sealer.verify(
            found.path, seal.identity, sums=seal.sums, leaves=seal.leaves, sha256=promised or b"", progress=tell
        )
        if is_unreadable(verified):
            wrong = "unreadable"
        elif isinstance(verified, Verified):
            if not verified.unchanged:
                result.changed += 1
                result.changed_inodes.append(found.ino)
            elif (verified.bad_units or verified.bad_leaves) and seal.vouches(boot_id()):
                wrong = "rot"
            elif verified.kept_promise is False:
                wrong = "broken_promise"
            elif verified.bad_units or verified.bad_leaves:
                # Changed or rotten, nobody can tell which (H16): to be sealed as it is now.
                result.changed += 1
                result.changed_inodes.append(found.ino)
    result.files += 1
    result.bytes += found.size
    tell(0)
    return wrong


def is_unreadable(outcome: Verified | Gone | Failed) -> bool:
    """Whether the disk refuses part of a file, or all of it."""
    if isinstance(outcome, Failed):
        return outcome.errno in _OF_DISK
    return isinstance(outcome, Verified) and outcome.unreadable


async def _enter(
    ledger: Ledger,
    known: set[tuple[bytes, FindingKind]],
    found: Found,
    wrong: FindingKind | None,
    result: Verification,
) -> None:
    """Bring the ledger up to date about one file."""
    for kind, detail in _DETAILS.items():
        if kind != wrong:
            if (found.path, kind) in known:
                await trio.to_thread.run_sync(ledger.findings.clear, found.path, kind)
            continue
        finding = Finding(kind, found.path, found.ino, detail, "", time.time_ns())
        await trio.to_thread.run_sync(ledger.findings.add, finding)
        result.wrong.append(WrongFile(os.fsdecode(found.path), kind, detail))
