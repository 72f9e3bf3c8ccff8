"""What the readers of tensor files share: spans of a file, reading it exactly, and giving up."""

from __future__ import annotations

from collections.abc import Callable

ReadAt = Callable[[int, int], bytes]
"""Reads a file at (offset, length); fewer bytes than asked for mean end of file."""

Span = tuple[int, int]
"""Begin and end of a tensor, in bytes from the start of the file."""

TENSORS_MAX = 1 << 18
"""A file that says it has more is not taken for one of weights. The largest models have some thousand a file."""

_OFFSET_MAX = (1 << 63) - 1  # pread's; beyond it Python raises OverflowError


class NotTensors(Exception):
    """The content is not, or not quite, what it seemed to be."""


def exactly(read_at: ReadAt, offset: int, length: int) -> bytes:
    """`length` bytes at `offset`. Raises NotTensors if the file ends before, or no file could begin to reach there."""
    if not 0 <= offset <= _OFFSET_MAX:
        raise NotTensors
    data = read_at(offset, length)
    if len(data) != length:
        raise NotTensors
    return data
