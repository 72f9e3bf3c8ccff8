"""What reads of one file come next: its sequential readers, each a stream of offsets.

Several processes may read one file, or threads of one process by the same handle, each at a place of its own. The
kernel reads ahead in several READs at once, which arrive in any order.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final, NamedTuple

AHEAD: Final = 8 * 1024 * 1024
"""How far a file is read ahead of a sequential reader: what 3 GB/s take in 3 ms."""
PIECE: Final = 2 * 1024 * 1024
"""How much of that at a time: several threads read several pieces at once."""
_NEAR: Final = 4 * 1024 * 1024
"""A READ that begins this close to where a stream has come to is of it: what the kernel reads ahead at once."""
_SURE: Final = 256 * 1024
"""A stream of this many bytes is a sequential reader's. Less may be a program that reads here and there."""
_MOST: Final = 8
"""As many streams of a file are known; another takes the place of the one that has read nothing for longest."""

_lock: Final = threading.Lock()
"""Of all tables: each is held for a microsecond."""


class Span(NamedTuple):
    """Bytes of a file."""

    start: int
    length: int


@dataclass(slots=True)
class _Stream:
    """`next`: where its READs have come to. `asked`: up to here the disk was asked to read ahead, since a READ met what
    was not in memory; 0 where it was not. `length`: how much was read."""

    next: int
    asked: int = 0
    length: int = 0


@dataclass(slots=True)
class Streams:
    """The sequential readers of a file. Any thread may use it."""

    _streams: list[_Stream] = field(default_factory=list)
    """The one that read last is the last."""

    def hit(self, offset: int, end: int) -> Span | None:
        """A READ was served from memory. Returns what is to be read next, if a stream comes close to what was."""
        with _lock:
            stream = self._of(offset, end)
            return self._next(stream) if stream.asked else None

    def missed(self, offset: int, end: int) -> Span | None:
        """A READ has to wait for the disk. Returns what is to be read beyond it, if it is a stream's."""
        with _lock:
            stream = self._of(offset, end)
            if stream.length < _SURE:
                return None
            if not stream.next <= stream.asked <= stream.next + AHEAD:
                stream.asked = stream.next
            return self._next(stream)

    @staticmethod
    def _next(stream: _Stream) -> Span | None:
        start = stream.asked
        if not stream.next <= start <= stream.next + AHEAD - PIECE:
            return None
        stream.asked += PIECE
        return Span(start, PIECE)

    def _of(self, offset: int, end: int) -> _Stream:
        streams = self._streams
        for at in range(len(streams) - 1, -1, -1):
            if abs(offset - streams[at].next) <= _NEAR:
                stream = streams.pop(at)
                break
        else:
            if len(streams) == _MOST:
                del streams[0]
            stream = _Stream(offset)
        streams.append(stream)
        stream.next = max(stream.next, end)
        stream.length += end - offset
        return stream
