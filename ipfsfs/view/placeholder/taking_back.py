"""Taking placeholders back that a LOOKUP made (H40): a client that was told "it is here" does not download; so one that
cannot be had, or is not what its name promises, goes, and the next call finds nothing there."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from ipfsfs.errors import IntegrityError
from ipfsfs.exchange.site import Site
from ipfsfs.plain import entries
from ipfsfs.plain.links import Link
from ipfsfs.unixfs import cid
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.records import Records

log = logging.getLogger(__name__)


@dataclass(slots=True)
class TakingBack:
    """Removes such placeholders. `site`: None where no others are asked any more."""

    nodes: NodeTable
    records: Records
    site: Site | None
    _refused: WeakKeyDictionary[Node, str] = field(default_factory=WeakKeyDictionary)
    """Why the content of a node's file is given to nobody any more."""

    def refuse_what_is_refused(self, node: Node) -> None:
        """Raises IntegrityError for a placeholder whose content is not what its name promises, or was taken back."""
        why = self._refused.get(node)
        if why is not None:
            raise IntegrityError(why)

    def refuse_what_nothing_proves(self, node: Node, said: Reference) -> None:
        """Raises IntegrityError for a placeholder that other machines told of by a name, and that has been moved to
        where its name promises nothing, as with its directory."""
        if said.is_by_name and self._promise(node) is None:
            raise IntegrityError(
                f"{self._shown(node)}: another machine said what this is, and nothing proves it at this place",
                hint="Move it back to where its name says its sha256, or remove it and download it.",
            )

    def broken(self, node: Node, said: Reference, why: str) -> None:
        """The content of a placeholder is not what its name promises: nobody gets any of it from now on."""
        self._refused[node] = why
        promise = self._promise(node)
        if said.is_by_name and promise is not None:
            if self.site is not None:
                self.site.wrong(promise, said.root)
            log.error("%s: another machine said that this is %s, which it is not: %s", self._shown(node),
                      cid.to_text(said.root), why)  # fmt: skip
            self._take(node, promise)

    def cannot_be_had(self, node: Node, said: Reference) -> None:
        """Nobody gave the content of a placeholder for as long as its readers are patient."""
        promise = self._promise(node)
        if not said.is_by_name or promise is None or not node.has_name:
            return
        self._refused[node] = f"{self._shown(node)} was not to be had from any machine, and is not here any more"
        log.warning("%s: no other machine gives it any more; it is not here now, and can be downloaded",
                    self._shown(node))  # fmt: skip
        self._take(node, promise)

    def _promise(self, node: Node) -> bytes | None:
        return None if node.parent is None else self.nodes.place(node.parent).classify(node.name).promise

    def _take(self, node: Node, promise: bytes) -> None:
        """Remove the link, if the name still stands for it."""
        parent = node.parent
        if parent is None or not node.has_name:
            return
        if self.site is not None:
            self.site.removed(promise)
        try:
            dir_fd = self.nodes.directory_fd(parent)
            link = Link.at(dir_fd, node.name)
            if (link.st.st_dev, link.st.st_ino) != (node.dev, node.ino):
                return
            fd = entries.look(dir_fd, node.name)
            try:
                before = os.fstat(fd)
                entries.unlink(dir_fd, node.name)
                fd = self.records.unnamed(parent, node.name, fd, before)
                node.withdrawn = True
            finally:
                if fd >= 0:
                    os.close(fd)
        except OSError as error:
            log.info("%s stays as it is by now: %s", self._shown(node), error.strerror)

    def _shown(self, node: Node) -> str:
        return os.fsdecode(self.nodes.path(node))
