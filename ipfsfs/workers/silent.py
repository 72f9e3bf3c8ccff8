"""Processes that ask and tell by another way than their pipes, such as the control socket: a pipe only says when to
end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import trio

from ipfsfs.errors import FormatError
from ipfsfs.workers.wire import Header


@dataclass(slots=True)
class SilentTalk:
    """The `Talk` of such a process, which is to be running once it `may_run`. `name`: what it is called in words."""

    name: str
    may_run: trio.Event = field(default_factory=trio.Event)

    async def wait_for_work(self) -> None:
        """As `Talk`."""
        while not self.may_run.is_set():
            await self.may_run.wait()

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        await trio.sleep_forever()
        raise AssertionError

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        raise FormatError(f"the {self.name} has nothing to say by its pipe")

    @property
    def silent_s(self) -> float:
        """As `Talk`."""
        return math.inf

    @property
    def waits_for_us(self) -> bool:
        """As `Talk`."""
        return True

    def ask_for_a_sign(self) -> None:
        """As `Talk`."""

    def lose(self, why: str) -> None:
        """As `Talk`."""
