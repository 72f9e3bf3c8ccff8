"""Handles: the number by which the kernel knows an open file, and the content behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ipfsfs.view.backing import Content, Node, Opened
from ipfsfs.view.native import Native


class Handle(NamedTuple):
    """What the kernel is told of an open file: the handle's number, and as `Opened`."""

    number: int
    keep: bool
    backing: int = 0


@dataclass(slots=True)
class Handles:
    """All handles. Their number counts what users have open."""

    native: Native
    _next: int = 1
    _contents: dict[int, Content] = field(default_factory=dict)
    _served: dict[int, Node] = field(default_factory=dict)
    """The files of those that the daemon serves."""
    _ours: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._contents) - len(self._ours)

    def __getitem__(self, number: int) -> Content:
        return self._contents[number]

    def add(self, node: Node, opened: Opened) -> Handle:
        """Enter an open of a node's file."""
        number = self._next
        self._next += 1
        self._contents[number] = opened.content
        if not opened.backing:
            self._served[number] = node
            self.native.serve(node)
        return Handle(number, opened.keep, opened.backing)

    def add_ours(self, node: Node, content: Content) -> Handle:
        """Enter an open by a process of the view's own."""
        handle = self.add(node, Opened(content, True))
        self._ours.add(handle.number)
        return handle

    def release(self, number: int) -> None:
        """Close a handle."""
        self._ours.discard(number)
        node = self._served.pop(number, None)
        if node is not None:
            self.native.served(node)
        self._contents.pop(number).close()
