"""What a job of the fetching process is, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ipfsfs.workers.wire import Header

SendPart = Callable[[Any], Awaitable[None]]


@dataclass(slots=True, frozen=True)
class Answer:
    """What came of a job."""

    header: Header = field(default_factory=dict)
    blob: bytes = b""


class Job(Protocol):
    """A job, ready to be done once."""

    def __call__(self, send_part: SendPart, /) -> Awaitable[Answer]: ...
