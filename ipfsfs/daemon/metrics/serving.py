"""Serving metrics, as the daemon sees it: a socket that listens, and the exporter's process behind it."""

from __future__ import annotations

import math
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ipfsfs.daemon.metrics import listening
from ipfsfs.errors import FormatError, UsageError
from ipfsfs.workers.process import Process
from ipfsfs.workers.start import Command
from ipfsfs.workers.wire import Header

_MODULE: Final = "ipfsfs.daemon.metrics.exporter"


@dataclass(slots=True)
class _ExporterTalk:
    """The `Talk` of the exporter: there is always work, and nothing is said by the pipes."""

    async def wait_for_work(self) -> None:
        """As `Talk`."""

    async def next_frame(self) -> bytes:
        """As `Talk`."""
        await trio.sleep_forever()
        raise AssertionError

    def take(self, header: Header, blob: bytes) -> None:
        """As `Talk`."""
        raise FormatError("the exporter has nothing to say")

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


@dataclass(slots=True)
class Serving:
    """Metrics of one view, where they are to be served. To be closed in the end, which may be done twice."""

    _store: Path
    _listening: socket.socket | None
    _made: tuple[str, os.stat_result] | None = None
    """The Unix socket: its path, and what was made there."""

    @classmethod
    def open(cls, address: str | None, mountpoint: Path, store: Path) -> Serving:
        """Listen at an address, if there is one. Raises UsageError, MountError."""
        if address is None:
            return cls(store, None)
        path = listening.parse(address).socket
        if path and mountpoint in Path(os.path.realpath(path)).parents:
            raise UsageError(
                f"metrics cannot be served at {address}: the view of {mountpoint} would cover it",
                hint="Choose a socket outside the view.",
            )
        bound = listening.bind(address)
        return cls(store, bound, (path, os.lstat(path)) if path else None)

    async def run(self) -> None:
        """Have the exporter's process, whatever becomes of it, until cancelled. To be run in the main thread."""
        if self._listening is None:
            return
        command = Command("exporter", _MODULE, (self._listening.fileno(),), (str(self._store),), b"/")
        try:
            await Process(command, _ExporterTalk()).run()
        finally:
            self.close()

    def close(self) -> None:
        """Listen no more: the address is free for another view."""
        if self._listening is not None:
            self._listening.close()
        if self._made is not None:
            path, made = self._made
            self._made = None
            with suppress(OSError):
                if os.path.samestat(os.lstat(path), made):  # else another view listens there by now
                    os.unlink(path)
