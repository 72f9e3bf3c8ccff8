"""HTTP APIs that answer in JSON, whatever it is that answers: bounded, checked for types, and without our secrets in
what is said of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from ipfsfs.errors import OriginError
from ipfsfs.origins.http import Client
from ipfsfs.origins.message import Answer, Request
from ipfsfs.origins.refusal import refusal
from ipfsfs.origins.said import shown

_LISTED_MAX: Final = 8 << 20
"""Bytes of an answer: a page of 1,000 pins with their delegates has about 1 MiB."""
_SHOWN: Final = 300
_LOOKED_AT: Final = 4_096


@dataclass(frozen=True, slots=True)
class Api:
    """Calls of one server. `kind`: what it is taken for, in words."""

    client: Client
    kind: str

    async def ask(self, method: str, target: str, said: dict[str, Any] | None = None) -> Answer:
        """The answer, whatever its status. `said` is sent as JSON. Raises Unreachable, OriginError.

        No redirect is followed: the token would go with it.
        """
        if said is None:
            return await self.client.ask(Request(method, target), _LISTED_MAX)
        async with aclosing(_body(json.dumps(said).encode())) as body:
            headers = (("Content-Type", "application/json"),)
            return await self.client.ask(Request(method, target, headers, body=body, repeatable=False), _LISTED_MAX)

    def one(self, answer: Answer) -> dict[str, Any]:
        """The object that an answer is. Raises OriginError, with what the server says of a failure."""
        (found,) = self.each(answer) or [None]
        if not isinstance(found, dict):
            raise self.nonsense(repr(found))
        return found

    def each(self, answer: Answer) -> list[Any]:
        """The values of an answer, one on each line. Raises OriginError."""
        if not 200 <= answer.status < 300:
            raise self.failure(answer)
        try:
            return [json.loads(answer.body)]
        except (ValueError, RecursionError):
            pass
        try:
            return [json.loads(line) for line in answer.body.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise self.nonsense(repr(answer.body[:_LOOKED_AT])) from None

    def failure(self, answer: Answer) -> OriginError:
        """The error for an answer that is no success."""
        why = _reason(answer.body)
        return refusal(
            self.client.name, replace(answer, body=why.encode("utf-8", "replace") or answer.body), self._authorization
        )

    def nonsense(self, what: str) -> OriginError:
        """The error for an answer that is not of its kind."""
        return OriginError(
            f"{self.client.name} does not answer as {self.kind} does: {shown(what, self._authorization, _SHOWN)}",
            hint="Is it the right URL?",
        )

    def shown(self, text: str) -> str:
        """What a server says, for people."""
        return shown(text, self._authorization, _SHOWN)

    @property
    def _authorization(self) -> str:
        return self.client.authorization


async def _body(data: bytes) -> AsyncGenerator[bytes]:
    yield data


def _reason(body: bytes) -> str:
    """Why, as the Pinning Service API (`{"error": {"reason", "details"}}`) and Cluster (`{"message"}`) say it."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    error = said.get("error")
    found = [error.get("reason"), error.get("details")] if isinstance(error, dict) else [said.get("message")]
    return ": ".join(one for one in found if isinstance(one, str) and one)
