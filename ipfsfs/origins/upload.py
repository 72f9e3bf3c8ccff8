"""Sending a body while listening: a server may refuse before it has read all, and says why only then."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import trio

from ipfsfs.errors import Unreachable
from ipfsfs.origins.connection import Closed, Connection
from ipfsfs.origins.message import Head


@dataclass(slots=True, eq=False)
class Upload:
    """One body on its way. `answer_s`: how long the answer may take once all is sent."""

    connection: Connection
    body: AsyncIterator[bytes]
    answer_s: float
    _head: Head | None = None
    _broken: Closed | None = None
    _trouble: Exception | None = None
    _sent: bool = False
    _listening: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self) -> Head:
        """Send all; returns the head of the answer. Where the server refuses, the rest of the body is not asked for.

        Raises what the body raises, as it is, and Unreachable or OriginError. An answer of success that comes early is
        left in the socket until all is sent.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, nursery.cancel_scope)
            nursery.start_soon(self._listen, nursery.cancel_scope)
        if self._trouble is not None:
            raise self._trouble
        if self._head is not None and (self._sent or self._head.status >= 300):
            return self._head
        raise self._broken or Unreachable(f"{self.connection.name} does not answer for {self.answer_s:g} s")

    async def _send(self, whole: trio.CancelScope) -> None:
        wait_s = self.answer_s
        try:
            async for piece in self.body:
                await self.connection.send_piece(piece)
            await self.connection.send_end()
            self._sent = True
        except Closed as error:  # it may have said why before it closed
            self._broken, wait_s = error, self.connection.limits.connect_s
        except Exception as error:  # of the body, or of a server that takes nothing: raised again by `run`
            self._trouble = error
            whole.cancel()
        self._listening.deadline = trio.current_time() + wait_s

    async def _listen(self, whole: trio.CancelScope) -> None:
        try:
            with self._listening:
                self._head = await self.connection.head(math.inf)
        except Exception as error:  # as above
            self._trouble = self._broken or error
            whole.cancel()
        else:
            if self._head is not None and self._head.status >= 300 and not self._sent:
                whole.cancel()
