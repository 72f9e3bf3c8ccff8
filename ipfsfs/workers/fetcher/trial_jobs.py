"""What the fetching process finds out by a trial: how fast the Hub is, and whether what came so far of a file is the
beginning of a format that holds no code. What others gave is read here, not in the daemon.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

import trio

from ipfsfs.errors import FormatError, NotHeld, OriginError
from ipfsfs.origins.hub_file import HubFile
from ipfsfs.origins.hub_files import HubFiles
from ipfsfs.unixfs import gguf, safetensors
from ipfsfs.unixfs.span import NotTensors
from ipfsfs.workers.fetcher.job import Answer, SendPart

_FORMATS: Final = {
    ".safetensors": (8, safetensors.MAGIC_AFTER_LENGTH, safetensors.spans),
    ".gguf": (0, gguf.MAGIC, gguf.spans),
}
"""Formats of weights that hold no code, by the end of a name: where their magic is, which, and what finds tensors."""
_PROBE_S: Final = 1.0
_FEW: Final = 48 << 10
"""Bytes that a Hub which gives 50 kB/s gives within that."""
_LEAST_S: Final = 0.02
"""What comes at once came from buffers on the way, and says little: it counts as if it had taken so long."""
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class HubRate:
    """How many bytes a second the Hub gives of a file, once it answers: of a few first, which say enough of a slow one,
    then of the rest, where that comes within a second."""

    hub: HubFiles | None
    files: list[HubFile]
    length: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        if self.hub is None or not self.files:
            raise NotHeld("no Hub is to be asked (mount --hub)")
        rate = 0.0
        with trio.move_on_after(_PROBE_S):
            rate = await self._of_range(self.hub, 0, _FEW)
            rate = await self._of_range(self.hub, _FEW, self.length)
        if not rate:
            raise OriginError(f"{self.hub.name} gave nothing within {_PROBE_S:.0f} s")
        return Answer({"rate": rate})

    async def _of_range(self, hub: HubFiles, start: int, end: int) -> float:
        taken = 0
        async with hub.pauses.asking(), hub.open(self.files[0], start, end) as part:
            began = time.perf_counter()
            while data := await part.response.piece():  # often all of it, at once
                taken += len(data)
            return taken / max(time.perf_counter() - began, _LEAST_S)


class _Further(Exception):
    """More of the file has to be here."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


@dataclass(slots=True)
class IsWeights:
    """Whether a file in an extent begins as one of a format that holds no code, of which the first `here` bytes are
    there. Answers how many have to be where these are not enough."""

    extents: int
    extent: str
    suffix: str
    size: int
    here: int

    async def __call__(self, send_part: SendPart, /) -> Answer:
        return await trio.to_thread.run_sync(self._look)

    def _look(self) -> Answer:
        if self.suffix not in _FORMATS:
            raise FormatError(f"no format is known by {self.suffix}")
        at, magic, spans = _FORMATS[self.suffix]
        fd = os.open(self.extent, _READ, dir_fd=self.extents)

        def read_at(offset: int, length: int) -> bytes:
            end = min(offset + length, self.size)
            if end > self.here:
                raise _Further(end)
            return os.pread(fd, end - offset, offset) if end > offset else b""

        try:
            if read_at(at, len(magic)) != magic:
                raise NotTensors
            spans(read_at, self.size)
        except NotTensors:
            return Answer({"is_weights": False, "needs": 0})
        except _Further as further:
            return Answer({"is_weights": False, "needs": further.end})
        finally:
            os.close(fd)
        return Answer({"is_weights": True, "needs": 0})
