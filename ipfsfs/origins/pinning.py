"""Pinning by Kubo, which waits for ever for a block that is nowhere, even where it is asked offline.

So its progress is watched. When that stops, the node is asked to walk the same content offline, which names what it
lacks: a walk before each pin would read everything twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import trio

from ipfsfs.errors import OriginError, Unreachable
from ipfsfs.origins.rpc import Rpc

STALLS_S: Final = 10.0
"""How long a pin may be without progress before the node is asked what it lacks."""
_STALLS_MAX: Final = 6
"""After so many times that, a pin for which nothing is missing is given up: the node's disk hangs."""
_ANSWER_S: Final = 60.0
_WALK_S: Final = 600.0
"""For a walk over all blocks, which a disk of 100 MB/s reads 60 GB in."""


@dataclass(slots=True, eq=False)
class Pinning:
    """The pin of `root` (the CID's text) under `name`."""

    rpc: Rpc
    root: str
    name: str
    stalls_s: float
    _progress: int = -1
    _moved_at: float = 0.0

    async def run(self) -> None:
        """Pin. Raises NotHeld where the node does not have a block, and names it."""
        self._moved_at = trio.current_time()
        arguments = (("arg", f"/ipfs/{self.root}"), ("recursive", "true"), ("name", self.name), ("progress", "true"))
        async with self.rpc.follow("pin/add", (*arguments, ("offline", "true")), _ANSWER_S) as events:
            stalls = 0
            while (event := await events.next()) is not None:
                if event.get("Pins"):
                    self._finish(event)
                    return
                if self._gets_on(self.rpc.number(event, "Progress")):
                    stalls = 0
                elif trio.current_time() - self._moved_at > (stalls + 1) * self.stalls_s:
                    stalls += 1
                    await self._look_for_what_is_missing()
                    if stalls == _STALLS_MAX:
                        raise Unreachable(f"{self.rpc.client.name} does not get on with the pin of {self.root}")
        raise self.rpc.nonsense(f"the pin of {self.root} ends without a word")

    def _finish(self, event: dict[str, Any]) -> None:
        if event["Pins"] != [self.root]:
            raise OriginError(f"{self.rpc.client.name} was asked to pin {self.root} and pinned something else")

    def _gets_on(self, progress: int) -> bool:
        if progress == self._progress:
            return False
        self._progress, self._moved_at = progress, trio.current_time()
        return True

    async def _look_for_what_is_missing(self) -> None:
        """Walk all that is pinned, offline. Raises NotHeld for the first block that is missing."""
        arguments = (("arg", self.root), ("progress", "true"), ("offline", "true"))
        with trio.move_on_after(_WALK_S):
            async with self.rpc.follow("dag/stat", arguments, _ANSWER_S) as events:
                while await events.next() is not None:  # how far it is; an error comes in the trailer
                    pass
