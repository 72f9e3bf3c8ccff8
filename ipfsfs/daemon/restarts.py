"""`mount --restart`: the guardian starts a daemon again that ended though nobody had asked for that.

Each time it waits longer, and after some times within ten minutes it gives up and says so: what ends again and again
would not be mended by one more try.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from ipfsfs.daemon import endings
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.log_lines import say
from ipfsfs.daemon.start import start
from ipfsfs.errors import IpfsfsError

MOST: Final = 5
"""How many times it is started again within `WITHIN_S`."""
WITHIN_S: Final = 600
FIRST_S: Final = 0.5
"""How long the first wait is; each further one is four times as long."""


def pause_s(restarts: tuple[int, ...], now: float) -> float | None:
    """How long to wait before another start, after those at `restarts`; None where it is time to give up."""
    recent = sum(1 for at in restarts if now - at < WITHIN_S)
    return float(FIRST_S * 4**recent) if recent < MOST else None


def bring_back(config: Config, store_fd: int, ended: endings.Ended) -> None:
    """Start a daemon again until one serves, as long as the note of the last one's end is there."""
    restarts = config.restarts or ()
    said = ended.in_words
    while True:
        pause = pause_s(restarts, time.time())
        if pause is None:
            _give_up(store_fd, ended, said)
            return
        time.sleep(pause)
        if endings.read(store_fd) != ended:  # the view was mounted, or unmounted, by its user
            return
        now = time.time()
        restarts = (*(at for at in restarts if now - at < WITHIN_S), int(now))
        try:
            started = start(replace(config, restarts=restarts))
        except IpfsfsError as error:
            said = f"could not be started: {error}"
            say("WARNING", f"the daemon of {config.mountpoint} {said}")
        else:
            say("INFO", f"started again: process {started.pid} serves {config.mountpoint}")
            return


def _give_up(store_fd: int, ended: endings.Ended, said: str) -> None:
    reason = f"it was started again {MOST} times within {WITHIN_S // 60} minutes, and last it {said}"
    say("ERROR", f"the daemon is not started again: {reason}")
    if endings.read(store_fd) == ended:
        endings.write(store_fd, replace(ended, gave_up=reason))
