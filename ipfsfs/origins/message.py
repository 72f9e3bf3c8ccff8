"""HTTP requests and answers as this room sees them, and how much and how long is waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

Pairs = tuple[tuple[str, str], ...]

HEADER_MAX: Final = 16 << 10
"""Bytes of a status line and its headers. Kubo sends about 1 KiB, gateways behind CDNs up to 4."""
TEXT_MAX: Final = 16 << 10
"""Bytes that are read of the body of a refusal; the rest is dropped with the connection."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server is waited for, in seconds, and how slow it may be.

    `connect_s`: until there is a connection, TLS included; three round trips to anywhere, and one lost packet.
    `silence_s`: between two bytes. Patience with a file is a minute, and in it another origin must have its turn.
    `grace_s`, `floor`: a whole answer may take `grace_s` and a second for each `floor` bytes of it. 16 KiB/s is below
    what a mobile link gives and would take a minute for a leaf; a server that sends a byte a second ends after 15 s.
    """

    connect_s: float = 5.0
    silence_s: float = 10.0
    grace_s: float = 15.0
    floor: int = 16 << 10


@dataclass(frozen=True, slots=True)
class Request:
    """`target`: path and query, percent-encoded, below the address's prefix.

    `body`: sent chunked as it comes. Not closed: that is the caller's business. `content`: a short body, sent at once
    with the head, where there is no `body`.
    `repeatable`: it does no harm to send it twice. `redirects`: how many to places on the same host are followed.
    `answer_s`: how long the first byte of the answer may take once all is sent; None: as long as any other byte.
    `grace_s`: in place of `Limits.grace_s`, for answers that tell of long work as it goes on.
    """

    method: str
    target: str
    headers: Pairs = ()
    body: AsyncIterator[bytes] | None = None
    repeatable: bool = True
    redirects: int = 0
    answer_s: float | None = None
    grace_s: float | None = None
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers; names in lower case."""

    status: int
    headers: Pairs

    def header(self, name: str) -> str:
        """The first header of that name (lower case), empty where there is none."""
        return next((value for key, value in self.headers if key == name), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `trailers`: the headers that came after the body, names in lower case."""

    head: Head
    body: bytes
    trailers: Pairs = field(default=())

    @property
    def status(self) -> int:
        return self.head.status

    def trailer(self, name: str) -> str:
        """The first trailer of that name (lower case), empty where there is none."""
        return next((value for key, value in self.trailers if key == name), "")


def text_of(pairs: object) -> Pairs:
    """Headers as h11 gives them, as text. Bytes beyond ASCII stand for themselves, as in latin-1."""
    assert hasattr(pairs, "__iter__")
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs)
