"""Late checks: files that got a promised name before their content was compared with it (H25).

Each is in the ledger from before the rename returns until it is done. It is of a file, not of a name: the client of the
Hub moves a new blob on to its shared store, and leaves a link to it at the promised name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from ipfsfs.caches.place import locate
from ipfsfs.plain import reaching, syscalls
from ipfsfs.plain.reaching import Reached
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.checks import Check
from ipfsfs.view.nodes import NodeTable


@dataclass(slots=True)
class LateChecks:
    """The checks that are still to be made."""

    nodes: NodeTable
    seals: Seals
    _open: dict[int, dict[bytes, Check]] = field(default_factory=dict)
    """By inode and promised name."""

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self._open)

    def of(self, ino: int) -> list[Check]:
        """Those of a file."""
        return list(self._open.get(ino, {}).values())

    def is_open(self, check: Check) -> bool:
        """Whether a check is still to be made."""
        return check.path in self._open.get(check.ino, {})

    def take_up(self) -> list[Check]:
        """Read from the ledger what an earlier view of this directory left to be checked. Raises StoreError."""
        checks = self.seals.ledger.checks.all()
        for check in checks:
            self._open.setdefault(check.ino, {})[check.path] = check
        return checks

    async def begin(self, path: bytes, fd: int) -> Check:
        """The file that `fd` holds is about to get a promised name; returns when the ledger on disk says so.

        Raises OSError.
        """
        st = os.fstat(fd)
        check = Check(path, path, st.st_ino, syscalls.birth_time_ns(fd))
        await self._enter(check)
        return check

    async def moved(self, ino: int, path: bytes) -> None:
        """A file was renamed."""
        for check in self.of(ino):
            await self._enter(replace(check, last_path=path))

    async def _enter(self, check: Check) -> None:
        self._open.setdefault(check.ino, {})[check.path] = check
        await self.seals.record(lambda ledger: ledger.checks.add(check))

    async def end(self, check: Check) -> None:
        """A check was made, or there is nothing left to check."""
        checks = self._open.get(check.ino, {})
        if checks.pop(check.path, None) is None:
            return
        if not checks:
            self._open.pop(check.ino, None)
        await self.seals.record(lambda ledger: ledger.checks.remove(check))

    def find(self, check: Check) -> Reached | None:
        """The file, where it counts as what was promised: at the promised name, behind a link there, or on its way to
        the shared store. None where it is none of these now. Raises OSError."""
        paths = [check.path]
        if (current := self._open.get(check.ino, {}).get(check.path)) is not None:
            paths.append(current.last_path)
        node = self.nodes.find(self.nodes.plain.dev, check.ino)
        if node is not None and node.held < 0:
            paths.append(self.nodes.path(node))  # a directory above may have been renamed
        for number, path in enumerate(paths):
            if number and not self._is_bound(path, check):
                continue
            found = reaching.reach(self.nodes.plain.fd, path)
            if found is not None and (found.dev, found.ino, found.born_ns) == (
                self.nodes.plain.dev,
                check.ino,
                check.born_ns,
            ):
                return found
        return None

    def _is_bound(self, path: bytes, check: Check) -> bool:
        """Whether a file at a path is held to what the check says: by its name, or as a shared blob."""
        place, name = locate(path, self.nodes.root_place)
        return place.holds_shared_content or name.promise == promised_by(check)


def promised_by(check: Check) -> bytes:
    """The sha256 that the name of a check promises."""
    return bytes.fromhex(check.path.rpartition(b"/")[2].decode("ascii"))
