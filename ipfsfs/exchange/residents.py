"""Which files of the plain directory are sealed as a root: content that is here, whatever its name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import trio

from ipfsfs.plain import syscalls, tree
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.plain.tree import Found
from ipfsfs.store.index import Index
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals


@dataclass(slots=True, frozen=True)
class Resident:
    """A file that is sealed as a root. `path` is from the plain root."""

    path: bytes
    seal: Seal


async def residents(plain: PlainDirectory, seals: Seals, roots: Iterable[bytes]) -> list[Resident]:
    """One file for each of the roots that a file is sealed as. The index and the names are read in a thread.

    Raises StoreError.
    """
    await seals.flush()
    if seals.index is None:
        return []
    found = await trio.to_thread.run_sync(_candidates, plain, seals.index, list(roots))
    by_root: dict[bytes, Resident] = {}
    for path, _ in found:
        seal = _sealed(plain, seals, path)
        if seal is not None:
            by_root.setdefault(seal.root, Resident(path, seal))
    return list(by_root.values())


def _candidates(plain: PlainDirectory, index: Index, roots: list[bytes]) -> list[tuple[bytes, int]]:
    """The paths of the files whose seals say one of the roots. The names are walked only where there are such seals."""
    wanted = {ino for root in roots for ino in index.files_with_root(root)}
    found: list[tuple[bytes, int]] = []
    if wanted:
        for batch in tree.regular_files(plain.fd):
            found += [(one.path, one.ino) for one in batch if isinstance(one, Found) and one.ino in wanted]
            if len({ino for _, ino in found}) == len(wanted):
                break
    return found


def _sealed(plain: PlainDirectory, seals: Seals, path: bytes) -> Seal | None:
    try:
        fd = syscalls.open_beneath(plain.fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return seals.agreeing(os.fstat(fd))
    finally:
        os.close(fd)
