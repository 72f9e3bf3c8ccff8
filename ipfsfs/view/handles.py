"""Handles: the number by which the kernel knows an open file, and the content behind it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ipfsfs.view.backing import Content


@dataclass(slots=True)
class Handles:
    """All handles. Their number counts what users have open."""

    _next: int = 1
    _contents: dict[int, Content] = field(default_factory=dict)
    _ours: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._contents) - len(self._ours)

    def __getitem__(self, number: int) -> Content:
        return self._contents[number]

    def add(self, content: Content) -> int:
        """Enter a content; returns the handle's number."""
        number = self._next
        self._next += 1
        self._contents[number] = content
        return number

    def add_ours(self, content: Content) -> int:
        """Enter a content that a process of the view's own has open; returns the handle's number."""
        number = self.add(content)
        self._ours.add(number)
        return number

    def release(self, number: int) -> None:
        """Close a handle."""
        self._ours.discard(number)
        self._contents.pop(number).close()
