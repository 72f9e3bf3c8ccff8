"""Reading everything again: checksums, CIDs and promises, from the disk and not from its cache."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from ipfsfs.hubcache.classify import Kind, Place, locate, promise
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.identity import Identity
from ipfsfs.plain.tree import Found
from ipfsfs.sealer.client import Sealer
from ipfsfs.sealer.outcome import Digest, Verified
from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Finding, Ledger
from ipfsfs.store.seal import Seal, boot_id


@dataclass(slots=True)
class Verification:
    """What came of it. `wrong`: facts about each file that is not as it should be."""

    files: int = 0
    bytes: int = 0
    unsealed: int = 0
    changed: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    changed_inodes: list[int] = field(default_factory=list)

    def as_facts(self) -> dict[str, Any]:
        """For a command to show."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "unsealed": self.unsealed,
            "changed": self.changed,
            "wrong": self.wrong,
        }


async def verify(
    sealer: Sealer,
    index: Index,
    ledger: Ledger,
    plain: PlainDirectory,
    root_place: Place,
    paths: Sequence[bytes],
    report: Callable[[dict[str, Any]], None],
) -> Verification:
    """Verify all files below `paths` (from the plain root). What is wrong is entered in the ledger, what proved right
    again or is gone is taken out of it. Raises StoreError and SealerLost."""
    result = Verification()
    known: set[tuple[bytes, str]] = {
        (finding.path, finding.kind) for finding in await trio.to_thread.run_sync(ledger.findings)
    }
    for path in paths:
        async with sealer.walk(path) as batches:
            async for batch in batches:
                for found in batch:
                    place, kind = locate(found.path, root_place)
                    if kind in (Kind.SECRET, Kind.SCRATCH):
                        continue
                    wrong = await _verify_one(sealer, index, plain, place, found, result, report)
                    await _enter(ledger, known, found, wrong, result)
                    known -= {(found.path, "rot"), (found.path, "broken_promise")}
        for gone, _ in [item for item in known if _is_below(item[0], path)]:
            await trio.to_thread.run_sync(ledger.clear_findings, gone)
    return result


def _is_below(path: bytes, prefix: bytes) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + b"/")


async def _verify_one(
    sealer: Sealer,
    index: Index,
    plain: PlainDirectory,
    place: Place,
    found: Found,
    result: Verification,
    report: Callable[[dict[str, Any]], None],
) -> list[str]:
    """What is wrong with one file: nothing, "rot" or "broken_promise"."""
    seal = index.get(found.ino)
    promised = promise(place, found.path.rpartition(b"/")[2])

    def tell(done: int) -> None:
        report({"files": result.files, "bytes": result.bytes + done, "path": os.fsdecode(found.path)})

    wrong: list[str] = []
    if seal is None or not _same(seal, found):
        result.unsealed += 1
        if seal is not None:
            result.changed += 1
            result.changed_inodes.append(found.ino)
        if promised is not None:
            digest = await sealer.digest(found.path, found.ino, promised)
            if isinstance(digest, Digest) and digest.sha256 != promised:
                wrong.append("broken_promise")
    else:
        identity = Identity(plain.dev, seal.ino, seal.born_ns, seal.size, seal.mtime_ns, seal.ctime_ns)
        verified = await sealer.verify(
            found.path, identity, sums=seal.sums, leaves=seal.leaves, sha256=promised or b"", progress=tell
        )
        if isinstance(verified, Verified):
            if not verified.unchanged:
                result.changed += 1
                result.changed_inodes.append(found.ino)
            elif (verified.bad_units or verified.bad_leaves) and seal.vouches(boot_id()):
                wrong.append("rot")
            elif verified.kept_promise is False:
                wrong.append("broken_promise")
            elif verified.bad_units or verified.bad_leaves:
                # Changed or rotten, nobody can tell which (H16): to be sealed as it is now.
                result.changed += 1
                result.changed_inodes.append(found.ino)
    result.files += 1
    result.bytes += found.size
    tell(0)
    return wrong


async def _enter(
    ledger: Ledger, known: set[tuple[bytes, str]], found: Found, wrong: list[str], result: Verification
) -> None:
    for kind in ("rot", "broken_promise"):
        if kind not in wrong:
            if (found.path, kind) in known:
                await trio.to_thread.run_sync(ledger.clear_findings, found.path, kind)
            continue
        path = os.fsdecode(found.path)
        detail = (
            "the disk returns other bytes than were written"
            if kind == "rot"
            else "its content is not what its name promises"
        )
        finding = Finding(
            "rot" if kind == "rot" else "broken_promise", found.path, found.ino, detail, "", time.time_ns()
        )
        await trio.to_thread.run_sync(ledger.add_finding, finding)
        result.wrong.append({"path": path, "kind": kind, "detail": detail})


def _same(seal: Seal, found: Found) -> bool:
    return (seal.size, seal.mtime_ns, seal.ctime_ns, seal.born_ns) == (
        found.size,
        found.mtime_ns,
        found.ctime_ns,
        found.born_ns,
    )
