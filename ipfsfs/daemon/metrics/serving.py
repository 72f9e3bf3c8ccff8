"""Serving metrics, as the daemon sees it: a socket that listens, and the exporter's process behind it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.daemon.metrics import listening
from ipfsfs.errors import UsageError
from ipfsfs.workers.process import Process
from ipfsfs.workers.silent import SilentTalk
from ipfsfs.workers.start import Command

_MODULE: Final = "ipfsfs.daemon.metrics.exporter"


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
        talk = SilentTalk("exporter")
        talk.may_run.set()
        try:
            await Process(command, talk).run()
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
