"""Files at promised names that do not have the promised content, while a program may still go on with them.

`curl -C -` and aria2 write a download under its final name, and take it up again there, minutes or days later. Nothing
tells a part of a file from a wrong file for sure: one that was left alone for a while, with no mark of a program that
is to go on with it, is reported. It is never taken away, and when it becomes right the report goes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.beside import unfinished_marks
from ipfsfs.plain import syscalls
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.view.nodes import NodeTable

PATIENCE_S: Final = 600.0
"""How long after its last change a file counts as unfinished: a connection that broke was made again by then."""


@dataclass(slots=True)
class Unfinished:
    """Waits until a file can no longer be meant as unfinished."""

    nodes: NodeTable
    seals: Seals
    _waiting: dict[int, trio.CancelScope] = field(default_factory=dict)

    def has(self, ino: int) -> bool:
        """Whether a file may be unfinished."""
        return ino in self._waiting

    async def outlast(self, path: bytes, seal: Seal) -> bool:
        """Wait until a sealed file was left alone for long enough; whether it is still as it was sealed then.

        Only the newest seal of a file is waited with.
        """
        self.forget(seal.ino)
        with trio.CancelScope() as scope:
            self._waiting[seal.ino] = scope
            try:
                while (wait_s := self.may_go_on_for(path, seal)) > 0:  # noqa: ASYNC110  nothing tells that a mark goes
                    await trio.sleep(wait_s)
                current = self.seals.get(seal.ino)
                return current is not None and current.seal_id == seal.seal_id
            finally:
                if self._waiting.get(seal.ino) is scope:
                    del self._waiting[seal.ino]
        return False

    def forget(self, ino: int) -> None:
        """A file is right, or gone."""
        if (scope := self._waiting.pop(ino, None)) is not None:
            scope.cancel()

    def may_go_on_for(self, path: bytes, seal: Seal) -> float:
        """For how many seconds more a program may be about to go on with a file; 0 where that can be meant no more."""
        directory, slash, name = path.rpartition(b"/")
        if any(self._is_there(directory + slash + mark) for mark in unfinished_marks(name)):
            return PATIENCE_S
        left_alone_s = (time.time_ns() - seal.identity.mtime_ns) / 1e9
        return min(PATIENCE_S, max(0.0, PATIENCE_S - left_alone_s))

    def _is_there(self, path: bytes) -> bool:
        try:
            os.close(syscalls.open_beneath(self.nodes.plain.fd, path, os.O_PATH | os.O_NOFOLLOW))
        except OSError:
            return False
        return True
