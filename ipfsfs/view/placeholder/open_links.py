"""The links of placeholders that are open, and the files that they become."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable


@dataclass(slots=True)
class OpenLinks:
    """The links of placeholders that are open, held by descriptors: what stat shows of an open file does not depend on
    what its name has become."""

    nodes: NodeTable
    _held: dict[Node, tuple[int, int]] = field(default_factory=dict)
    """By node: the descriptor, and by how many contents it is held."""

    def hold(self, node: Node) -> None:
        """A content was opened, which must `release` it. Raises OSError."""
        fd, count = self._held.get(node, (-1, 0))
        if not count:
            fd = self.nodes.for_worker(self.nodes.look(node))
        self._held[node] = fd, count + 1
        node.own = fd

    def renew(self, node: Node) -> None:
        """The node's link was replaced by another, by us. Raises OSError."""
        if node in self._held:
            self._replace(node, self.nodes.look(node))

    def became(self, node: Node, file: int) -> None:
        """The node's link was replaced by a file that is open as `file`. Raises OSError."""
        if node in self._held:
            self._replace(node, os.open(f"/proc/self/fd/{file}", os.O_PATH | os.O_CLOEXEC))

    def _replace(self, node: Node, renewed: int) -> None:
        fd, count = self._held[node]
        os.close(fd)
        node.own = renewed
        self._held[node] = renewed, count

    def lose_name(self, node: Node) -> None:
        """The name of a node was found to be another file's, given by another program: whoever has the node open goes
        on by its descriptor."""
        self.nodes.unnamed(node, os.dup(self._held[node][0]))

    def release(self, node: Node) -> None:
        """A content was closed, or has become a resident file's."""
        fd, count = self._held[node]
        if count > 1:
            self._held[node] = fd, count - 1
            return
        del self._held[node]
        os.close(fd)
        if node.own == fd:
            node.own = -1
            self.nodes.closed(node)
