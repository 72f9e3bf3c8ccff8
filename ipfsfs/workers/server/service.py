"""What is done with a request, from who sent it to the answer: the routes of the server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.workers.server import answer
from ipfsfs.workers.server.admission import Admission, Refused
from ipfsfs.workers.server.answer import Answer
from ipfsfs.workers.server.caller import Caller, Ends
from ipfsfs.workers.server.capacity import BODIES, Capacity
from ipfsfs.workers.server.endpoints import PREFIX, Call, Endpoints
from ipfsfs.workers.server.gateway import Gateway
from ipfsfs.workers.server.request import Request
from ipfsfs.workers.server.totals import Totals

CONTENT: Final = "/ipfs/"
_ENDPOINT_S: Final = 5.0
_CROWDED_S: Final = 10
"""When who has asked too much of late is to come back."""


@dataclass(slots=True)
class Service:
    """Answers all requests."""

    admission: Admission
    gateway: Gateway
    endpoints: Endpoints
    totals: Totals
    bodies: Capacity = field(default_factory=lambda: Capacity(BODIES))
    """Long bodies of requests, which whoever reaches the address can send."""

    def refusal(self, head: Request) -> Refused | None:
        """Why a request is not taken, whatever its body is; None where the body decides."""
        refused = self.admission.unknown(head)
        self.totals.refused += refused is not None
        return refused

    async def answer(self, request: Request, ends: Ends, held: AsyncExitStack) -> Answer:
        """The answer to a request by such a connection; see `Gateway.answer` for `held`."""
        caller = await self.admission.admit(request, ends)
        if isinstance(caller, Refused):
            return self._refused(caller, request)
        answered = await self._answer(request, caller, held)
        if caller.is_signed:
            sent = b"" if request.method == "HEAD" or answered.proves_itself else answered.body
            answered.headers += self.admission.signature(request, answered.status, sent)
        return answered

    def _refused(self, refused: Refused, request: Request) -> Answer:
        if refused.status != 429:
            self.totals.refused += 1
            return answer.error(refused.status, refused.why)
        self.totals.busy += 1
        busy = answer.busy(_CROWDED_S)
        busy.headers += self.admission.signature(request, busy.status, b"" if request.method == "HEAD" else busy.body)
        return busy

    async def _answer(self, request: Request, caller: Caller, held: AsyncExitStack) -> Answer:
        if request.path.startswith(CONTENT):
            return await self.gateway.answer(request, caller, held)
        if request.path.startswith(PREFIX):
            return await self._endpoint(request, caller)
        return answer.error(404, "nothing is here but /ipfs/CID")

    async def _endpoint(self, request: Request, caller: Caller) -> Answer:
        if request.method not in ("GET", "POST"):
            return answer.error(405, "GET or POST", ("Allow", "GET, POST"))
        call = Call(request.method, request.path.removeprefix(PREFIX), request.body, caller)
        with trio.move_on_after(_ENDPOINT_S):
            reply = await self.endpoints.answer(call)
            after = [] if reply.retry_after_s is None else [("Retry-After", str(reply.retry_after_s))]
            return answer.in_json(reply.status, reply.body, *after)
        return answer.error(503, "it took too long", ("Retry-After", "1"))
