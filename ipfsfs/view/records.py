"""What is known of a file by its names, kept in step when a name comes, goes or moves: node, seal, kernel cache."""

from __future__ import annotations

import os
import stat as stat_
from dataclasses import dataclass

from ipfsfs.caches.place import Name
from ipfsfs.store.seals import Seals
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.upkeep.upkeep import Upkeep


@dataclass(slots=True)
class Records:
    """Records what calls did to names."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    upkeep: Upkeep

    def named(self, before: os.stat_result, after: os.stat_result, name: Name) -> None:
        """A file has a new name: its seal goes on holding, except where the name says that it is never sealed (H36)."""
        if name.is_sealed:
            self.seals.restamp(before, after)
        elif self._may_have_seal(after):
            self.seals.lapse(after.st_ino)
        node = self.nodes.find(after.st_dev, after.st_ino)
        if node is not None:
            self._same_content(node, before, after)

    def same_content(self, before: os.stat_result, after: os.stat_result) -> None:
        """A call of ours changed attributes of a file, and not its content."""
        self.seals.restamp(before, after)
        node = self.nodes.find(after.st_dev, after.st_ino)
        if node is not None:
            self._same_content(node, before, after)

    def linked_elsewhere(self, before: os.stat_result, after: os.stat_result) -> None:
        """A file got or lost a name outside of the plain directory, in the store: its content is the same."""
        if not self._may_have_seal(after):
            return
        node = self.nodes.find(after.st_dev, after.st_ino)
        if after.st_nlink:
            self.seals.restamp(before, after)
        else:
            self.upkeep.removed(after.st_ino, known=node is not None and self.files.of(node) is not None)
        if node is not None:
            self._same_content(node, before, after)

    def moved(self, after: os.stat_result, parent: Node, name: bytes) -> None:
        """A file or directory, which is now as `after` says, has moved to a name."""
        node = self.nodes.find(after.st_dev, after.st_ino)
        if node is not None:
            directory = stat_.S_ISDIR(after.st_mode)
            self.nodes.moved(node, parent, name, directory=directory)
            self.upkeep.moved(node, directory=directory)

    def unnamed(self, parent: Node, name: bytes, fd: int, before: os.stat_result) -> int:
        """`name` no longer stands for the file that `fd` holds. Returns `fd`, or -1 when its node has taken it over."""
        self.gone(parent, name)
        st = os.fstat(fd)
        node = self.nodes.find(st.st_dev, st.st_ino)
        if st.st_nlink:
            self.seals.restamp(before, st)
        elif self._may_have_seal(st):
            self.upkeep.removed(st.st_ino, known=node is not None and self.files.of(node) is not None)
        if node is None:
            return fd
        self._same_content(node, before, st)
        if node.parent is parent and node.name == name:
            self.nodes.unnamed(node, fd)
            fd = -1
        return fd

    def gone(self, parent: Node, name: bytes) -> None:
        """What stood at a name stands there no longer."""
        if not self.seals.ledger.findings.empty:
            self.upkeep.name_gone(self.nodes.path_of(parent, name))

    def _may_have_seal(self, st: os.stat_result) -> bool:
        """Whether the inode of a file says which file it is, to seals and promises."""
        return stat_.S_ISREG(st.st_mode) and st.st_dev == self.seals.dev

    def _same_content(self, node: Node, before: os.stat_result, after: os.stat_result) -> None:
        node.cache.carried(before, after)
        if (file := self.files.of(node)) is not None:
            file.carry_over(before, after)
