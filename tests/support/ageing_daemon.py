"""A daemon for which a test has days pass: `python -m tests.support.ageing_daemon CONFIG`.

At each SIGUSR1 the clock that it sleeps and remembers by goes on by a day. All else is the program's.
"""

from __future__ import annotations

import signal
import sys
from functools import partial

import trio
import trio.testing

from ipfsfs.daemon import __main__ as daemon
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.lifecycle import Running

DAY_S = 86_400.0
_BEGINS_S = 1_000_000.0
"""As the system's clock, it does not begin at 0."""


def main() -> None:
    """Serve in the foreground until unmounted; prints a line once the view answers."""
    clock = trio.testing.MockClock(rate=1.0)
    clock.jump(_BEGINS_S)
    signal.signal(signal.SIGUSR1, lambda *_: clock.jump(DAY_S))  # it is noticed when the daemon wakes next
    trio.run = partial(trio.run, clock=clock)  # type: ignore[assignment]  # all of the daemon goes by it

    def ready(_: Running) -> None:
        print("ready", flush=True)

    daemon.run(Config.from_json(sys.argv[1]), ready, to_file=True)


if __name__ == "__main__":
    main()
