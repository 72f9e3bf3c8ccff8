"""An answer to a request, before it is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Answer:
    """`body`: of an answer whose length is known. `pieces`: in place of it, what comes one after the other, of which
    the end is not known; where it fails the connection is closed before the end, which tells.

    `proves_itself`: a block or a CAR, which its CIDs tell; such a body is no part of what is signed.
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    pieces: AsyncIterator[tuple[bytes, bytes]] | None = None
    proves_itself: bool = False

    @property
    def reason(self) -> bytes:
        """The words for the status."""
        return HTTPStatus(self.status).phrase.encode()


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer in words, which no cache is to keep."""
    head = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *headers]
    return Answer(status, head, text.encode("utf-8", "replace") + b"\n")


def in_json(status: int, body: bytes, *headers: tuple[str, str]) -> Answer:
    """An answer in JSON, which no cache is to keep."""
    return Answer(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *headers], body)


def error(status: int, why: str, *headers: tuple[str, str]) -> Answer:
    """A refusal in JSON."""
    return in_json(status, json.dumps({"error": why}).encode(), *headers)


def busy(after_s: int = 1) -> Answer:
    """There is too much to do: the asker is to come back."""
    return plain(429, "too much to do: try again", ("Retry-After", str(after_s)))
