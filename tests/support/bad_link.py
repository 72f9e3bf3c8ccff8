"""A link between two networks that delays frames, loses some and carries so many bytes a second, as `netem` does.

That queueing discipline is not in every kernel. Here two TAP devices, one in either network, are joined by a process:
`python -m tests.support.bad_link PID NAME PID NAME DELAY_S LOSS RATE`. It says a line when both are there, and ends,
as the devices do, when its standard input ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.support.namespaces import in_network

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_FRAME_MOST: Final = 65_536
_QUEUE_MOST_S: Final = 0.2
"""For how long frames queue where they come faster than the link carries them; what would wait longer is lost."""


@dataclass(slots=True)
class Way:
    """One direction."""

    source: int
    target: int
    delay_s: float
    loss: float
    rate: float  # bytes a second; 0 for no bound
    chance: random.Random
    _frames: deque[tuple[float, bytes]] = field(default_factory=deque)
    _free_at: float = 0.0

    def take(self) -> None:
        """A frame has come."""
        frame = os.read(self.source, _FRAME_MOST)
        now = time.monotonic()
        if self.chance.random() < self.loss:
            return
        sent = now
        if self.rate:
            sent = max(now, self._free_at)
            if sent - now > _QUEUE_MOST_S:
                return
            sent += len(frame) / self.rate
            self._free_at = sent
        self._frames.append((sent + self.delay_s, frame))

    def give(self) -> float:
        """Send the frames whose time has come; returns in how many seconds that of the next comes."""
        while self._frames:
            rest = self._frames[0][0] - time.monotonic()
            if rest > 0:
                return rest
            frame = self._frames.popleft()[1]
            with suppress(OSError):  # a device that is down, or whose queue is full, loses it
                os.write(self.target, frame)
        return 3600.0


def tap(pid: int, name: str) -> int:
    """A TAP device in the network of a process. Raises OSError."""

    def make() -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        return device

    return in_network(pid, make)


def relay(one: int, other: int, delay_s: float, loss: float, rate: float) -> None:
    """Carry frames between two devices until the standard input ends."""
    chance = random.Random(13)
    ways = {source: Way(source, target, delay_s, loss, rate, chance) for source, target in ((one, other), (other, one))}
    ready = select.poll()
    for descriptor in (0, *ways):
        ready.register(descriptor, select.POLLIN)
    while True:
        rest = min(way.give() for way in ways.values())
        for descriptor, _ in ready.poll(rest * 1000):
            if descriptor == 0:
                return
            ways[descriptor].take()


def main() -> None:
    first_pid, first, second_pid, second, delay_s, loss, rate = sys.argv[1:]
    devices = tap(int(first_pid), first), tap(int(second_pid), second)
    print(flush=True)
    relay(*devices, float(delay_s), float(loss), float(rate))


if __name__ == "__main__":
    main()
