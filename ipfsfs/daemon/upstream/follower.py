"""The follower: the process that fills in what the upstream of a view has, and the view has not.

Started as `python -m ipfsfs.daemon.upstream.follower REQUESTS RESULTS STORE MOUNTPOINT UPSTREAM`: the two pipes of
every worker process, of which the first tells when to end. It does what a command does: it asks the daemon by its
control socket, has blocks from the view's origins, parses what they gave, and makes names through the view. So the
daemon parses nothing of it, and a view waits for none of it (decision 75).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio
from trio.lowlevel import FdStream

from ipfsfs.caches.registry import root_place
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import upstream as questions
from ipfsfs.daemon.sources import Sources, open_sources
from ipfsfs.errors import IpfsfsError, MountError
from ipfsfs.exchange import naming, upstream
from ipfsfs.exchange.naming import ContentName
from ipfsfs.exchange.upstream import FilledIn, Upstream
from ipfsfs.plain import syscalls
from ipfsfs.printed import counted
from ipfsfs.unixfs import cid
from ipfsfs.workers.memory import bound_memory, end_by_signal

_EVERY_S: Final = 300.0
"""How often a name is resolved again, and how long at most an upstream that failed is left alone."""
_FIRST_PAUSE_S: Final = 5.0
_LONGEST_S: Final = 3600.0
"""How long one tree may take: one that trickles is given up, and what was made stays."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, frozen=True)
class _Remembered:
    """Fills `upstream.Remembered`, by the daemon's ledger."""

    store: Path
    at: int

    def known(self, names: Sequence[bytes]) -> set[bytes]:
        """As `Remembered`."""
        found: set[bytes] = set()
        for part in _parts(names):
            said = ask(self.store, questions.Question(known=part))
            found.update(map(bytes.fromhex, said.known))
        return found

    def add(self, names: Sequence[bytes]) -> None:
        """As `Remembered`."""
        for part in _parts(names):
            ask(self.store, questions.Question(seen=part, at=self.at))


@dataclass(slots=True)
class Follower:
    """Follows one upstream."""

    store: Path
    mountpoint: Path
    shown: str
    name: ContentName

    async def run(self) -> None:
        """Fill in what it has, again whenever the name stands for something new, until there is nothing left to do."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                with trio.fail_after(_LONGEST_S):
                    says = await self._look()
                is_done = self.name.kind == "ipfs"
                self._tell(says, is_done=is_done)
                if is_done:
                    return
                pause_s, wait_s = _FIRST_PAUSE_S, _EVERY_S
            except trio.TooSlowError:
                wait_s = pause_s = _EVERY_S
                self._tell(f"it gave not all of its names within {_LONGEST_S / 60:.0f} minutes{_again(wait_s)}")
            except (IpfsfsError, OSError) as error:
                wait_s, pause_s = pause_s, min(2 * pause_s, _EVERY_S)
                self._tell(upstream.why_not(error) + _again(wait_s))
            await trio.sleep(wait_s)

    async def _look(self) -> str:
        """Look at the upstream once; returns how it stands."""
        view = mounts.view_at(self.mountpoint)
        if view is None:
            raise MountError(f"{self.mountpoint} is not mounted any more")
        async with open_sources(view) as known:
            root = await known.resolve(self.name)
            last = ask(self.store, questions.Question(upstream=self.shown, hint=cid.to_text(root)))
            if last.root == cid.to_text(root):
                return f"all of {last.root} is filled in, since {_when(last.at)}"
            return await self._fill_in(known, root)

    async def _fill_in(self, known: Sources, root: bytes) -> str:
        text, at = cid.to_text(root), int(time.time())

        def show(done: FilledIn) -> None:
            self._tell(f"{text} is being filled in: {done.made:,} of its {counted(done.names, 'name')} so far")

        fd = os.open(self.mountpoint, _DIRECTORY)
        try:
            with known.here.blocks.needing():
                remembered = _Remembered(self.store, at)
                place = root_place(bytes(self.mountpoint))
                done = await Upstream(known.origin, fd, place, remembered, show).run(root)
        finally:
            os.close(fd)
        ask(self.store, questions.Question(upstream=self.shown, complete=text, at=at))
        removed = f", {counted(done.removed, 'stays', 'stay')} removed" if done.removed else ""
        passed_over = (
            f", {counted(done.passed_over, 'was', 'were')} passed over, such as {done.example}"
            if done.passed_over
            else ""
        )
        made = counted(done.made, "name was", "names were")
        return f"{text} was filled in, {_when(at)}: {made} made{removed}{passed_over}"

    def _tell(self, says: str, *, is_done: bool = False) -> None:
        ask(self.store, questions.Question(says=says[: questions.SAYS_MOST], is_done=is_done))


def _again(wait_s: float) -> str:
    return f"; looked at again after {wait_s:.0f} s"


def _when(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _parts(names: Sequence[bytes]) -> list[tuple[str, ...]]:
    most = questions.NAMES_MOST
    return [tuple(name.hex() for name in names[at : at + most]) for at in range(0, len(names), most)]


async def _main(requests: int, follower: Follower) -> None:
    async with trio.open_nursery() as nursery:

        async def end_with_the_daemon() -> None:
            async with FdStream(requests) as pipe:
                while await pipe.receive_some(1):
                    pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(end_with_the_daemon)
        await follower.run()
        await trio.sleep_forever()  # the daemon ends it


def main() -> int:
    """Run the follower."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    requests, _, *texts = sys.argv[1:]
    store, mountpoint, shown = texts
    syscalls.name_process(b"ipfsfs-follower")
    syscalls.signal_at_parents_end(signal.SIGKILL)
    bound_memory(end_by_signal)
    follower = Follower(Path(store), Path(mountpoint), shown, naming.parse_content(shown))
    try:
        trio.run(_main, int(requests), follower)
    except BaseExceptionGroup as group:
        if group.split((IpfsfsError, OSError))[1] is not None:
            raise
        return 1  # no daemon answers any more
    return 0


if __name__ == "__main__":
    sys.exit(main())
