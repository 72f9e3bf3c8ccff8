"""What a sealing process is told, and what it says: jobs, the growth of downloads, how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import SealerLost
from ipfsfs.workers import wire
from ipfsfs.workers.awaited import Awaited, Waiting
from ipfsfs.workers.wire import Header

FOLLOWED_MAX: Final = 64
"""Files whose growth may wait to be told; of more, none is."""

SILENT_S: Final = 300.0
"""A sealer that has work and says nothing for so long hangs."""

_MEASURE_S: Final = 0.2
_IDLE_S: Final = 1.0


@dataclass(slots=True)
class _Growth:
    """What is still to be told of a file that is followed: in this order."""

    end: bool = False
    restart: bool = False
    prefix: int = 0
    path: bytes = b""


@dataclass(slots=True)
class Speed:
    """How much has been read, from what the processes report: each counts from its own start."""

    path: bytes = b""
    _before: int = 0
    _total: int = 0
    _rate: float = 0.0
    _reported: float = -math.inf
    _measured: int = 0
    _measured_at: float = -math.inf

    @property
    def total(self) -> int:
        """Bytes read since the first process was started."""
        return self._before + self._total

    @property
    def now(self) -> tuple[float, bytes]:
        """Bytes a second, and the file being read; 0 and nothing while idle."""
        if trio.current_time() - self._reported > _IDLE_S:
            return 0.0, b""
        return self._rate, self.path

    def report(self, total: int) -> None:
        """The process has read so many bytes by now."""
        self._total, self._reported = total, trio.current_time()
        elapsed_s = self._reported - self._measured_at
        if elapsed_s >= _MEASURE_S:
            self._rate = (total - self._measured) / elapsed_s if elapsed_s < _IDLE_S else 0.0
            self._measured, self._measured_at = total, self._reported

    def begin_again(self) -> None:
        """The process is gone."""
        self._before, self._total, self._measured = self._before + self._total, 0, 0


@dataclass(slots=True, eq=False)
class SealerTalk:
    """The `Talk` of a sealing process."""

    awaited: Awaited = field(default_factory=lambda: Awaited(SealerLost))
    speed: Speed = field(default_factory=Speed)
    _growth: dict[int, _Growth] = field(default_factory=dict)

    def begin(self, header: Header, blob: bytes = b"", progress: Callable[[int], None] | None = None) -> Waiting:
        """Hand over a job. Whoever does must `forget` it in the end."""
        self._tell_growth()
        return self.awaited.begin(header, blob, progress)

    def hold(self, seconds: float) -> None:
        """Whatever is being done, rest for a moment."""
        if self.awaited.any:
            self.awaited.post(wire.encode({"do": "hold", "seconds": seconds}))

    def grow(self, ino: int, path: bytes, prefix: int) -> None:
        """A followed file grew. Told when the pipe has room for it, and then only the last that was to be told."""
        if ino in self._growth or len(self._growth) < FOLLOWED_MAX:
            growth = self._growth.setdefault(ino, _Growth())
            growth.path, growth.prefix = path, prefix
            self.awaited.wake.set()

    def restart(self, ino: int) -> None:
        """What was hashed of a followed file counts no longer. Never lost, and told before any later job."""
        growth = self._growth.setdefault(ino, _Growth())
        growth.restart, growth.prefix = True, 0
        self.awaited.wake.set()

    def end(self, ino: int) -> None:
        """A followed file is of no more interest."""
        self._growth[ino] = _Growth(end=True)
        self.awaited.wake.set()

    async def wait_for_work(self) -> None:
        """As `Talk`."""
        while not self.awaited.outbox and not any(growth.prefix for growth in self._growth.values()):
            self._growth.clear()
            await self._woken()

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        while not self.awaited.outbox:
            self._tell_growth()
            if not self.awaited.outbox:
                await self._woken()
        return self.awaited.outbox.popleft()

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        if "total" in header:
            self.speed.report(header["total"])
        if "path" in header:
            self.speed.path = wire.path(header["path"])
        self.awaited.take(header, blob)

    @property
    def silent_s(self) -> float:
        """As `Talk`: it says how much it has read, unless a disk answers no longer."""
        return SILENT_S

    @property
    def waits_for_us(self) -> bool:
        """As `Talk`."""
        return self.awaited.wait_for_us

    def ask_for_a_sign(self) -> None:
        """As `Talk`: it reads no request while it works."""

    def lose(self, why: str) -> None:
        """As `Talk`."""
        self._growth.clear()
        self.speed.begin_again()
        self.awaited.lose(why)

    async def _woken(self) -> None:
        await self.awaited.wake.wait()
        self.awaited.wake = trio.Event()

    def _tell_growth(self) -> None:
        growing, self._growth = self._growth, {}
        for ino, growth in growing.items():
            self.awaited.post(
                wire.encode(
                    {
                        "do": "follow",
                        "ino": ino,
                        "end": growth.end,
                        "restart": growth.restart,
                        "prefix": growth.prefix,
                        "path": wire.text(growth.path),
                    }
                )
            )
