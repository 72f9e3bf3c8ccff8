"""Following an upstream, as the daemon sees it: a process that fills in, and what it said last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from ipfsfs.workers.process import Process
from ipfsfs.workers.silent import SilentTalk
from ipfsfs.workers.start import Command

_MODULE: Final = "ipfsfs.daemon.upstream.follower"
_BEGINS: Final = "it was not looked at yet"


@dataclass(slots=True)
class Following:
    """The upstream of one view, if it has one. `says`: how it stands, in words; empty where there is none."""

    upstream: str | None
    says: str
    _talk: SilentTalk
    _process: Process
    _is_done: bool = False

    @classmethod
    def of(cls, upstream: str | None, mountpoint: Path, store: Path) -> Following:
        """Nothing is started yet."""
        talk = SilentTalk("follower")
        arguments = (str(store), str(mountpoint), upstream or "")
        process = Process(Command("follower of the upstream", _MODULE, (), arguments, b"/"), talk)
        return cls(upstream, _BEGINS if upstream else "", talk, process)

    @property
    def state(self) -> str:
        """As `says`, and what is wrong with the process."""
        return "; ".join(said for said in (self.says, self._process.state) if said)

    async def run(self) -> None:
        """Have the follower's process, whatever becomes of it, until cancelled. To be run in the main thread."""
        if self.upstream is not None:
            self._go_on()
            await self._process.run()

    def tell(self, says: str, *, is_done: bool) -> None:
        """The follower says how it stands; `is_done`: and that there is nothing left to do, ever."""
        self.says = says
        if is_done:
            self._is_done = True
            self._rest()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """The view is to be unmounted while the block runs: no file of it is used then, and after that only if the
        block raises, which means that the view stays."""
        self._rest()
        try:
            yield
        except BaseException:
            self._go_on()
            raise

    def _go_on(self) -> None:
        if self.upstream is not None and not self._is_done:
            self._talk.may_run.set()

    def _rest(self) -> None:
        if self._talk.may_run.is_set():
            self._talk.may_run = trio.Event()
        self._process.end()
