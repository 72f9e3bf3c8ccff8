"""Extended attributes of files in the plain directory, and the CID, which is one more."""

from __future__ import annotations

import errno
import os
import stat as stat_
from dataclasses import dataclass

from ipfsfs.exchange.trees import Trees
from ipfsfs.plain import held
from ipfsfs.plain.ownership import groups_of
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs import cid
from ipfsfs.view.attributes import CID_XATTR, Changes
from ipfsfs.view.backing import Caller, Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.team import Team, as_team
from ipfsfs.view.upkeep.upkeep import Upkeep


def _in_group(caller: Caller, gid: int) -> bool:
    return caller.uid == 0 or caller.gid == gid or gid in groups_of(caller.pid)


@dataclass(slots=True)
class Xattrs:
    """Reads and sets extended attributes."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    trees: Trees
    upkeep: Upkeep
    team: Team | None = None

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        """The value of an attribute. Raises OSError: ENODATA for the CID of what is not (wholly) sealed, EACCES for
        that of a directory where another user asks than root and the daemon's own."""
        if name == CID_XATTR:
            return cid.to_text(await self._cid(node, caller)).encode("ascii")
        # The kernel asks at every first write. A file that was opened as a placeholder is held by its path at first.
        if node.own >= 0 and self.files.of(node) is not None:
            return held.get_own_xattr(node.own, name)
        with self.nodes.reached(node) as fd:
            return held.get_xattr(fd, name)

    async def _cid(self, node: Node, caller: Caller) -> bytes:
        # Whether a file may be read the kernel has checked: it does for attributes of this name.
        st = self.nodes.stat(node)
        # By the name it has now (H36): a seal from before may still be there.
        if node.parent is None or self.nodes.place(node.parent).classify(node.name).is_sealed:
            seal = self.seals.agreeing(st)
            if seal is not None:
                return seal.root
        if stat_.S_ISDIR(st.st_mode) and caller.uid not in (0, os.geteuid()):
            # It speaks of all that is below, which this user may not be allowed to read, and takes time to find.
            raise OSError(errno.EACCES, "the CID of a directory is for who mounted the view, and root")
        if (not stat_.S_ISREG(st.st_mode) and node.held < 0) or node is self.nodes.root:
            found = await self.trees.cid(self.nodes.path(node))
            if found.root:
                return found.root
            self.upkeep.tree_lacks_seals()
        self.upkeep.lacks_seal(node, st)
        raise OSError(errno.ENODATA, "not sealed")

    def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """Set an attribute. Raises OSError."""
        if name == CID_XATTR:
            raise OSError(errno.EPERM, "a CID follows from the content")
        with self.nodes.reached(node) as fd:
            before = os.fstat(fd)
            held.set_xattr(fd, name, value)
            if name == held.ACL and before.st_mode & stat_.S_ISGID and not _in_group(caller, before.st_gid):
                # The kernel clears it for whoever is not in the file's group; here it only sees root.
                held.chmod(fd, stat_.S_IMODE(os.fstat(fd).st_mode) & ~stat_.S_ISGID)
            if name == held.ACL and self.team is not None:
                self._keep_mode(self.team, node, fd)
            file = self.files.of(node)
            if name == held.ACL and file is not None:
                file.guarded = True
            self._carry_over(node, before, os.fstat(fd))

    def _keep_mode(self, team: Team, node: Node, fd: int) -> None:
        """An ACL that says no more than a mode does is a chmod: `cp -a` makes it so."""
        mode = stat_.S_IMODE(os.fstat(fd).st_mode)
        wanted = as_team(team, self.nodes, node, Changes(mode=mode)).mode
        if wanted is not None and wanted != mode:
            held.chmod(fd, wanted)

    def names(self, node: Node) -> list[bytes]:
        """The names of the attributes. Raises OSError."""
        with self.nodes.reached(node) as fd:
            return held.list_xattrs(fd)

    def remove(self, node: Node, name: bytes) -> None:
        """Remove an attribute. Raises OSError."""
        with self.nodes.reached(node) as fd:
            before = os.fstat(fd)
            held.remove_xattr(fd, name)
            self._carry_over(node, before, os.fstat(fd))

    def _carry_over(self, node: Node, before: os.stat_result, after: os.stat_result) -> None:
        self.seals.restamp(before, after)
        node.cache.carried(before, after)
        if (file := self.files.of(node)) is not None:
            file.carry_over(before, after)
