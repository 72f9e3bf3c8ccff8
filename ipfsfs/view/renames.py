"""Renames: classify both names, check what the new one promises, move, and record what moved."""

from __future__ import annotations

import os
import stat as stat_
from contextlib import suppress
from dataclasses import dataclass

from ipfsfs.caches.place import Name
from ipfsfs.plain import entries, syscalls
from ipfsfs.view.backing import Caller, Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.records import Records
from ipfsfs.view.team import Team
from ipfsfs.view.upkeep.upkeep import Upkeep


@dataclass(slots=True, frozen=True)
class _End:
    """One of the two names: where it is, and what it is."""

    parent: Node
    name: bytes
    kind: Name


@dataclass(slots=True, frozen=True)
class _Move:
    """What is to be renamed, and what it is before that."""

    source: _End
    target: _End
    flags: int
    before: os.stat_result

    @property
    def exchanges(self) -> bool:
        """Whether the two names are to change places."""
        return bool(self.flags & syscalls.RENAME_EXCHANGE)

    def is_of(self, st: os.stat_result) -> bool:
        """Whether `st` is of the file that is to be renamed."""
        return (st.st_dev, st.st_ino) == (self.before.st_dev, self.before.st_ino)


@dataclass(slots=True)
class Renames:
    """Renames files and directories."""

    nodes: NodeTable
    records: Records
    upkeep: Upkeep
    team: Team | None = None

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int, caller: Caller
    ) -> None:
        """Rename. Raises OSError; EIO when the new name promises another content than the file has (H23)."""
        if self.team is None:
            await self._rename(parent, name, new_parent, new_name, flags)
            return
        self._keep_secrets(self.team, parent, name, new_parent, new_name, caller)
        if flags & syscalls.RENAME_EXCHANGE:
            self._keep_secrets(self.team, new_parent, new_name, parent, name, caller)
        try:
            await self._rename(parent, name, new_parent, new_name, flags)
        finally:
            self.team.turned(parent.number, name)
            self.team.turned(new_parent.number, new_name)

    async def _rename(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int) -> None:
        await self._bring_what_has_to_be_here(parent, name, new_parent, new_name)
        if flags & syscalls.RENAME_EXCHANGE:
            await self._bring_what_has_to_be_here(new_parent, new_name, parent, name)
        move = self._classify(parent, name, new_parent, new_name, flags)
        await self._check(move)
        after = self._move(move)
        if after is not None and move.is_of(after):
            await self._record(move, after)

    def _keep_secrets(
        self, team: Team, parent: Node, name: bytes, new_parent: Node, new_name: bytes, caller: Caller
    ) -> None:
        """No name of another user's secret is given to another file, and what becomes a secret is made private before
        it has its name. Raises OSError."""
        place = self.nodes.place(new_parent)
        team.refuse_anothers(place, self.nodes.directory_fd(new_parent), new_name, caller)
        with self.nodes.held_at(parent, name) as fd:
            before = os.fstat(fd)
            if team.keep_private(place, new_name, fd, caller):
                self.records.same_content(before, os.fstat(fd))
        is_one, becomes_one = (
            team.is_secret(at, end, before.st_mode) for at, end in ((self.nodes.place(parent), name), (place, new_name))
        )
        if becomes_one and not is_one:
            team.turn(parent.number, name)

    async def _bring_what_has_to_be_here(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes) -> None:
        """A file that is not (wholly) here, and gets a name at which such a file cannot be, is fetched first; so is one
        that is proven by its name only, and gets another."""
        place = self.nodes.place(new_parent)
        can_be = place.may_be_elsewhere(new_name)
        promise = self.nodes.place(parent).classify(name).promise
        if can_be and (promise is None or place.classify(new_name).promise == promise):
            return
        with suppress(FileNotFoundError):
            st = entries.stat(self.nodes.directory_fd(parent), name)
            node = self.nodes.find(st.st_dev, st.st_ino) if stat_.S_ISLNK(st.st_mode) else None
            said = node.backing.stands_for if node is not None else None
            if node is not None and (not can_be or (said is not None and said.is_by_name)):
                await node.backing.resident(node)

    def _classify(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int) -> _Move:
        src_fd, _ = self.nodes.two_directory_fds(parent, new_parent)
        return _Move(
            _End(parent, name, self.nodes.place(parent).classify(name)),
            _End(new_parent, new_name, self.nodes.place(new_parent).classify(new_name)),
            flags,
            entries.stat(src_fd, name),
        )

    async def _check(self, move: _Move) -> None:
        """Compare a file with what its new name promises; those that change places are compared later.

        Raises IntegrityError, OSError.
        """
        source, target = move.source, move.target
        if not move.exchanges:
            if target.kind.promise is not None and stat_.S_ISREG(move.before.st_mode):
                await self.upkeep.check_promise(source.parent, source.name, move.before, target.parent, target.name)
            return
        for end, other in ((source, target), (target, source)):
            if other.kind.promise is not None:
                with self.nodes.held_at(end.parent, end.name) as fd:
                    await self.upkeep.about_to_be_named(other.parent, other.name, fd)

    def _move(self, move: _Move) -> os.stat_result | None:
        """The call itself, and what it did to the file that had the new name. Returns what has it now; None where both
        are names of one file, with which rename(2) does nothing. Raises OSError."""
        source, target = move.source, move.target
        src_fd, dst_fd = self.nodes.two_directory_fds(source.parent, target.parent)
        replaced = -1
        with suppress(FileNotFoundError):
            replaced = entries.look(dst_fd, target.name)
        try:
            there = os.fstat(replaced) if replaced >= 0 else None
            entries.rename(src_fd, source.name, dst_fd, target.name, move.flags)
            if there is not None:
                if move.is_of(there):
                    return None
                if move.exchanges:
                    self._exchanged(move, there, src_fd)
                else:
                    replaced = self.records.unnamed(target.parent, target.name, replaced, there)
        finally:
            if replaced >= 0:
                os.close(replaced)
        return entries.stat(dst_fd, target.name)

    def _exchanged(self, move: _Move, before: os.stat_result, dir_fd: int) -> None:
        """What stood at the new name has got the old one."""
        source = move.source
        self.records.gone(move.target.parent, move.target.name)
        after = entries.stat(dir_fd, source.name)
        if (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino):
            self.records.named(before, after, source.kind)
            self.records.moved(after, source.parent, source.name)

    def _is_shared(self, end: _End) -> bool:
        """Whether a file moves into the store that clients share: a link takes its name at once (H49)."""
        return self.nodes.place(end.parent).holds_shared_content

    async def _record(self, move: _Move, after: os.stat_result) -> None:
        source, target = move.source, move.target
        self.records.gone(source.parent, source.name)
        if not move.exchanges and source.kind.promise != target.kind.promise and not self._is_shared(target):
            self.upkeep.unlinked(source.parent, source.name)
        self.records.named(move.before, after, target.kind)
        await self.upkeep.renamed(after, target.parent, target.name)
        self.records.moved(after, target.parent, target.name)
