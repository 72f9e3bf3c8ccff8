"""How the body of an answer is framed in HTTP/1.1: by its length, in chunks, or by the end of the connection.

h11 cuts bodies too, and takes 12 µs for each chunk, of which Kubo's RPC sends 256 for a leaf: it reads heads, and
bodies are cut here. No I/O; what is kept of what came is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ipfsfs.origins.message import HEADER_MAX, Head, Pairs

Piece = bytes | memoryview

_FRAMING_MAX: Final = 64 << 10
"""Bytes of chunk sizes that are borne beside as many bytes again as there is content."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_NEXT_SIZE: Final = re.compile(rb"\r\n" + _SIZE.pattern)
_TRAILER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_WITHOUT_BODY: Final = (204, 304)
_PIECES_MAX: Final = 1024
"""More pieces than these are put together: each takes 200 bytes, and may hold but one."""


class Malformed(Exception):
    """What came is no body of HTTP/1.1. Says what is wrong with it."""


class TooLong(Exception):
    """Trailers, or the line with the size of a chunk, are longer than HEADER_MAX."""


class TooMuchFraming(Exception):
    """There are more bytes of chunk sizes than of content."""


class CutOff(Exception):
    """The connection ended before the body did."""


class Body(Protocol):
    """One body. `ended`: whether all of it came; `trailers` are known then, and so is the `rest` of what came with its
    end, which is not of it. `left`: how many bytes of it did not come yet; None where that is not known."""

    ended: bool
    trailers: Pairs
    rest: bytes

    @property
    def left(self) -> int | None: ...

    def take(self, data: bytes) -> Sequence[Piece]:
        """The content in what came. Raises Malformed, TooLong, TooMuchFraming."""

    def close(self) -> None:
        """The connection has ended. Raises CutOff."""


def body_of(method: str, head: Head) -> Body:
    """The body of an answer, by RFC 9112, 6.3. Its headers are to be valid ones, as h11 sees to."""
    if method == "HEAD" or head.status in _WITHOUT_BODY:
        return Counted(0)
    if head.header("transfer-encoding"):
        return Chunked()
    length = head.header("content-length")
    return Counted(int(length)) if length else UntilClosed()


@dataclass(slots=True, eq=False)
class Counted:
    """A body whose length is known."""

    left: int
    ended: bool = False
    trailers: Pairs = ()
    rest: bytes = b""

    def __post_init__(self) -> None:
        self.ended = not self.left

    def take(self, data: bytes) -> Sequence[Piece]:
        """As `Body`."""
        if len(data) > self.left:
            data, self.rest = data[: self.left], data[self.left :]
        self.left -= len(data)
        self.ended = not self.left
        return (data,) if data else ()

    def close(self) -> None:
        """As `Body`."""
        if not self.ended:
            raise CutOff


@dataclass(slots=True, eq=False)
class UntilClosed:
    """A body that ends with its connection."""

    ended: bool = False
    trailers: Pairs = ()
    rest: bytes = b""

    @property
    def left(self) -> int | None:
        """As `Body`."""
        return None

    def take(self, data: bytes) -> Sequence[Piece]:
        """As `Body`."""
        return (data,) if data else ()

    def close(self) -> None:
        """As `Body`."""
        self.ended = True


@dataclass(slots=True, eq=False)
class Chunked:
    """A body in chunks, behind which trailers may come."""

    ended: bool = False
    trailers: Pairs = ()
    rest: bytes = b""
    _left: int = 0
    """Bytes of the chunk that did not come yet."""
    _size: re.Pattern[bytes] = _SIZE
    """What the line with the next size looks like: behind a chunk there is the end of a line before it."""
    _is_behind: bool = False
    """Whether the last chunk is over."""
    _begun: bytes = b""
    """A line, or trailers, whose end did not come yet."""
    _framing: int = 0
    _content: int = 0

    @property
    def left(self) -> int | None:
        """As `Body`."""
        return None

    def take(self, data: bytes) -> Sequence[Piece]:
        """As `Body`."""
        if self._begun:
            data, self._begun = self._begun + data, b""
        view, at, end = memoryview(data), 0, len(data)
        found: list[Piece] = []
        while at < end and not self._is_behind:
            if self._left:
                part = view[at : at + self._left]
                found.append(part)
                at += len(part)
                self._left -= len(part)
                self._content += len(part)
                continue
            match = self._size.match(data, at)
            if match is None:
                self._keep(data[at:])
                break
            at = match.end()
            self._begin_chunk(int(match[1], 16), len(match[0]))
        if self._is_behind:
            self._end(data[at:])
        return found if len(found) <= _PIECES_MAX else (b"".join(found),)

    def close(self) -> None:
        """As `Body`."""
        if not self.ended:
            raise CutOff

    def _begin_chunk(self, size: int, framing: int) -> None:
        self._left, self._size = size, _NEXT_SIZE
        self._is_behind = not size
        self._framing += framing
        if self._framing > _FRAMING_MAX + self._content:
            raise TooMuchFraming

    def _keep(self, line: bytes) -> None:
        """Keep a line whose end may still come."""
        if self._size is _NEXT_SIZE and line[:2] != b"\r\n"[: len(line)]:
            raise Malformed("a chunk that is longer than its size")
        if b"\n" in line[2 if self._size is _NEXT_SIZE else 0 :]:
            raise Malformed("no size of a chunk")
        if len(line) > HEADER_MAX:
            raise TooLong
        self._begun = line

    def _end(self, data: bytes) -> None:
        """Take trailers, up to the empty line behind them."""
        if data.startswith(b"\r\n"):
            self.ended, self.rest = True, data[2:]
            return
        end = data.find(b"\r\n\r\n", 0, HEADER_MAX + 4)
        if end < 0:
            if len(data) > HEADER_MAX:
                raise TooLong
            self._begun = data
            return
        self.trailers = tuple(_trailer(line) for line in data[:end].split(b"\r\n"))
        self.ended, self.rest = True, data[end + 4 :]


def _trailer(line: bytes) -> tuple[str, str]:
    match = _TRAILER.fullmatch(line)
    if match is None:
        raise Malformed("no header")
    return match[1].decode("ascii").lower(), match[2].rstrip(b" \t").decode("latin-1")
