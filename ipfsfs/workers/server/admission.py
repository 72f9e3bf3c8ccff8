"""Who is let in: machines with the site's token; where there is none, or it is opened, anyone, to what is public."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Final

from ipfsfs.origins.signing import HEADER, TOO_MANY, Asked, Token, Verifier, nonce_of
from ipfsfs.workers.server.caller import Caller, Ends
from ipfsfs.workers.server.own_address import OwnAddress
from ipfsfs.workers.server.request import Request

_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])\.?(?::[0-9]{1,5})?", re.IGNORECASE)
"""A `Host` header that names this machine, whatever DNS says."""


@dataclass(slots=True, frozen=True)
class Refused:
    """A request that is not taken. `status`: 401; 403 and 421 where no signature would help; 429 where it is signed
    rightly, and its sender has to wait."""

    status: int
    why: str


@dataclass(slots=True)
class Admission:
    """`is_open`: whether requests without a signature are let in though there is a token. `for_this_machine`: it
    listens on loopback alone, without a token: a page in a browser here could have its own name lead to that."""

    is_open: bool
    for_this_machine: bool
    _verifier: Verifier | None = None
    _own: OwnAddress = field(default_factory=OwnAddress)

    @classmethod
    def of(cls, token: Token | None, *, is_open: bool, is_loopback: bool) -> Admission:
        """With these settings. Without a token all are let in: the daemon has seen to it that this is meant."""
        verifier = Verifier(token) if token is not None else None
        return cls(is_open, is_loopback and token is None and not is_open, verifier)

    def unknown(self, head: Request) -> Refused | None:
        """Whether a request can be refused by its head alone: so nobody fills memory with bodies who is not known."""
        if "origin" in head.headers:
            return Refused(403, "pages of the web are not served")
        if self._verifier is None or (self.is_open and not head.header(HEADER.lower())):
            return None
        why = self._verifier.no_signature(head.header(HEADER.lower()), time.time())
        return Refused(401, why) if why else None

    async def admit(self, request: Request, ends: Ends) -> Caller | Refused:
        """Who asks, by such a connection."""
        host = ends.host
        if "origin" in request.headers:
            return Refused(403, "pages of the web are not served")
        value = request.header(HEADER.lower())
        if self._verifier is None:
            if self.for_this_machine and _LOOPBACK.fullmatch(request.header("host")) is None:
                return Refused(421, "this machine alone is served: ask for localhost or 127.0.0.1")
            return Caller(host, is_signed=False, is_of_site=True)
        if not value and self.is_open:
            return Caller(host, is_signed=False, is_of_site=False)
        asked = Asked(request.method, request.target, request.header("host"), request.is_have, request.body)
        why = self._verifier.refusal(value, asked, time.time(), host)
        if why:
            return Refused(429 if why == TOO_MANY else 401, why)
        if not await self._own.is_meant(asked.host, ends.local):
            return Refused(401, f"the request is signed for {asked.host}, and came to {ends.local}")
        return Caller(host, is_signed=True, is_of_site=True)

    def signature(self, request: Request, status: int, body: bytes) -> list[tuple[str, str]]:
        """The header of an answer to a request that was signed."""
        nonce = nonce_of(request.header(HEADER.lower()))
        if self._verifier is None or not nonce:
            return []
        return [(HEADER, self._verifier.token.sign_answer(nonce, status, body))]
