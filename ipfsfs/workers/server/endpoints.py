"""What machines of a site tell each other beside blocks: `/ipfsfs/v1/NAME`, as the server hands it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from ipfsfs.workers.server.caller import Caller
from ipfsfs.workers.wire import Header

PREFIX: Final = "/ipfsfs/v1/"
BODY_MAX: Final = 1 << 20
"""Bytes of a request's body, and of an answer's."""


@dataclass(slots=True, frozen=True)
class Call:
    """A request to an endpoint. Its body has at most `BODY_MAX` bytes and is hostile until checked. The server has
    compared its signature, where there is one, and counts and limits requests; what a caller may do by
    `caller.is_signed` and `caller.is_of_site` is for the endpoint to decide.

    `method`: GET or POST. `name`: what stands behind `PREFIX`, without a query.
    """

    method: str
    name: str
    body: bytes
    caller: Caller


@dataclass(slots=True, frozen=True)
class Reply:
    """An answer in JSON, which the server signs with its body, where the request was signed."""

    status: int
    body: bytes = b"{}"
    retry_after_s: int | None = None


class Endpoints(Protocol):
    """All endpoints behind `PREFIX`."""

    async def answer(self, call: Call) -> Reply:
        """Answer a request, within 5 seconds or it is answered 503. A status of 404 for a name that is none, 405 for a
        method it does not take, 400 for a body that makes no sense, 401 for a caller who may not ask this."""

    def told(self, header: Header, blob: bytes) -> None:
        """The daemon said something that is not the server's own matter (`Server.tell`). Raises LookupError, TypeError
        or ValueError where it makes no sense."""

    async def run(self) -> None:
        """Run what the endpoints do beside answering, until cancelled."""


class NoEndpoints:
    """A server that gives blocks and nothing else."""

    async def answer(self, call: Call) -> Reply:
        """As `Endpoints`."""
        return Reply(404, b'{"error":"no such endpoint"}')

    def told(self, header: Header, blob: bytes) -> None:
        """As `Endpoints`."""

    async def run(self) -> None:
        """As `Endpoints`."""
