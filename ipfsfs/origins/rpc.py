"""Kubo's RPC: commands by POST, answers of JSON, and errors in three places (status, body, trailer)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from ipfsfs.errors import NotHeld, OriginError
from ipfsfs.origins.http import Client, Response
from ipfsfs.origins.message import TEXT_MAX, Answer, Pairs, Request
from ipfsfs.origins.refusal import refusal
from ipfsfs.origins.said import shown

_STREAM_ERROR: Final = "x-stream-error"
_ABSENT: Final = re.compile(
    r"ipld: could not find|block was not found locally|could not resolve name|routing: not found"
)
_OUT_OF_TIME: Final = "context deadline exceeded"
_SHOWN: Final = 400
_NONSENSE: Final = 160
_LOOKED_AT: Final = 4_096
_LINE_MAX: Final = 256 << 10
"""Bytes of one event, and of those that come in one piece."""
_CREDENTIALS: Final = "Name a file that holds the credentials, such as `Bearer TOKEN`: --kubo-authorization-file FILE"
_NOT_KUBO: Final = "Is the address that of Kubo's RPC (`ipfs config Addresses.API`), not of its gateway?"


class OutOfTime(OriginError):
    """Kubo gave a command up after the time that it was allowed."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """Calls of one node."""

    client: Client

    async def call(
        self,
        command: str,
        arguments: Pairs,
        most: int = TEXT_MAX,
        *,
        body: AsyncIterator[bytes] | None = None,
        headers: Pairs = (),
        repeatable: bool = True,
        answer_s: float | None = None,
    ) -> bytes:
        """The body of the answer, at most `most` bytes. Raises NotHeld, OutOfTime, Unreachable, OriginError."""
        target = _target(command, arguments)
        request = Request("POST", target, headers, body=body, repeatable=repeatable, answer_s=answer_s)
        answer = await self.client.ask(request, most)
        if answer.status != 200:
            raise self._refusal(answer)
        self.check_trailers(answer.trailers)
        return answer.body

    async def ask(self, command: str, arguments: Pairs, most: int = TEXT_MAX, **options: Any) -> dict[str, Any]:
        """The one JSON object that a command answers with."""
        lines = self.objects(await self.call(command, arguments, most, **options))
        if len(lines) != 1:
            raise self.nonsense(f"{len(lines)} objects where one is due")
        return lines[0]

    @asynccontextmanager
    async def follow(self, command: str, arguments: Pairs, answer_s: float) -> AsyncGenerator[Events]:
        """What a command tells of long work, as it goes on; how long that may be is the caller's to bound."""
        request = Request("POST", _target(command, arguments), answer_s=answer_s, grace_s=math.inf)
        async with self.client.open(request) as response:
            if response.head.status != 200:
                raise self._refusal(Answer(response.head, await response.beginning(TEXT_MAX)))
            yield Events(self, response)

    def objects(self, body: bytes) -> list[dict[str, Any]]:
        """The JSON objects of a body, one on each line. Raises OriginError for anything else, and for errors in it."""
        found: list[dict[str, Any]] = []
        for line in body.splitlines():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                raise self.nonsense(repr(line[:_LOOKED_AT])) from None
            if not isinstance(value, dict):
                raise self.nonsense(repr(line[:_LOOKED_AT]))
            if value.get("Type") == "error":
                raise self.failure(str(value.get("Message", "")))
            found.append(value)
        return found

    def check_trailers(self, trailers: Pairs) -> None:
        """Raise the error that Kubo found after it had begun to answer, if there was one."""
        for name, value in trailers:
            if name == _STREAM_ERROR:
                raise self.failure(value)

    def text(self, value: dict[str, Any], key: str) -> str:
        """A field of an answer that must be text."""
        found = value.get(key)
        if not isinstance(found, str):
            raise self.nonsense(f"no {key} in {value}")
        return found

    def number(self, value: dict[str, Any], key: str) -> int:
        """A field of an answer that must be a natural number."""
        found = value.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self.nonsense(f"no {key} in {value}")
        return found

    def _refusal(self, answer: Answer) -> OriginError:
        if answer.status in (400, 500) and answer.body.lstrip().startswith(b"{"):
            self.objects(answer.body)  # raises the error that the body tells of
        error = refusal(self.client.name, answer, self.client.authorization)
        if answer.status in (404, 405):
            error.hint = _NOT_KUBO
        elif answer.status in (401, 403):
            error.hint = _CREDENTIALS
        return error

    def failure(self, message: str) -> OriginError:
        """The error for a message of Kubo's."""
        text = f"{self.client.name} answers: {self.shown(message, _SHOWN)}"
        if _ABSENT.search(message):
            return NotHeld(text)
        return OutOfTime(text) if _OUT_OF_TIME in message else OriginError(text)

    def nonsense(self, what: str) -> OriginError:
        """The error for an answer that is not of Kubo's kind."""
        return OriginError(
            f"{self.client.name} does not answer as Kubo does: {self.shown(what, _NONSENSE)}", hint=_NOT_KUBO
        )

    def shown(self, text: str, most: int) -> str:
        """What Kubo says, for people: at most `most` characters."""
        return shown(text, self.client.authorization, most)


@dataclass(slots=True, eq=False)
class Events:
    """The JSON objects of an answer, one after the other."""

    rpc: Rpc
    response: Response
    _begun: bytearray = field(default_factory=bytearray)
    _whole: list[bytes] = field(default_factory=list)

    async def next(self) -> dict[str, Any] | None:
        """The next object; None at the end."""
        while True:
            while self._whole:
                if found := self.rpc.objects(self._whole.pop()):
                    return found[0]
            if self.response.ended:
                return None
            await self._read()

    async def _read(self) -> None:
        piece = await self.response.piece()
        if not piece:
            self.rpc.check_trailers(self.response.trailers)
        self._begun += piece
        if len(self._begun) > _LINE_MAX:
            raise self.rpc.nonsense(f"a line longer than {_LINE_MAX} bytes")
        if b"\n" in piece or not piece:
            *lines, rest = self._begun.split(b"\n")
            self._whole = [bytes(line) for line in reversed([*lines, rest] if not piece else lines)]
            self._begun = bytearray() if not piece else rest


def _target(command: str, arguments: Pairs) -> str:
    return f"/api/v0/{command}?{urlencode(arguments)}"
