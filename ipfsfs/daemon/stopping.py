"""Signals that ask a daemon to stop, and how long it may go on then: as long as its unit says, where it is a service of
systemd."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

_SIGNALS: Final = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
_TOGETHER_S: Final = 1.0
"""Signals within this time are one request: systemd sends SIGHUP right after SIGTERM where it is told to."""
_UNSUPERVISED_S: Final = 5.0
"""How long files that are open are served by a daemon that no unit limits."""
_END_S: Final = 5.0
"""What is left for the end itself of the time that a unit gives."""
_PATIENCE_S: Final = 1.0
"""How long systemd may take to answer."""
_UNIT: Final = re.compile(r"[^/]+\.service(?=/|$)")
_SPAN: Final = re.compile(r"(\d+)(y|month|w|d|h|min|s|ms|us)")
_SECONDS: Final = {
    "y": 31_557_600.0,
    "month": 2_629_800.0,
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3_600.0,
    "min": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
}
"""The units in which systemd writes a span of time (systemd.time(7))."""


@contextmanager
def requests() -> Iterator[AsyncIterator[int]]:
    """The signals that ask for the end, as they come. Once the block has ended they are ignored: what is left to do is
    not to be cut short."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # which is put back when the receiver is closed
    with trio.open_signal_receiver(*_SIGNALS) as received:
        yield received


async def cancel_when_asked(requests: AsyncIterator[int], again: bool, scope: trio.CancelScope) -> None:
    """Cancel at the next request; with `again`, that is not one which came together with the first."""
    since = trio.current_time() if again else -math.inf
    async for _ in requests:
        if trio.current_time() > since + _TOGETHER_S:
            scope.cancel()


async def may_linger_s() -> float:
    """How long files that are open may be served after a request to stop; their users are on plain disk after that.

    A unit's `TimeoutStopSec=` less the time to end: what still runs when that has passed is killed.
    """
    stop_s = await _stop_s()
    return _UNSUPERVISED_S if stop_s is None else max(stop_s - _END_S, stop_s / 2)


async def _stop_s() -> float | None:
    """`TimeoutStopSec=` of the unit that this process belongs to, as it is now; None where none waits for it."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    unit = _unit()
    if unit is None:
        return None
    manager = ["--user"] if "MANAGERPID" in os.environ else []
    command = ["systemctl", *manager, "show", "--property=TimeoutStopUSec", "--value", "--", unit]
    try:
        with trio.fail_after(_PATIENCE_S):
            said = await trio.run_process(command, capture_stdout=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError, trio.TooSlowError):
        return None
    return in_seconds(said.stdout.decode("ascii", "replace").strip())


def _unit() -> str | None:
    """The innermost service that this process belongs to, by its control group (cgroups(7))."""
    for line in Path("/proc/self/cgroup").read_text("utf-8", "replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd") and (units := _UNIT.findall(path)):
            return str(units[-1])
    return None


def in_seconds(span: str) -> float | None:
    """A span of time as systemd writes it, such as `1min 30s`; None for anything else."""
    if span == "infinity":
        return math.inf
    parts = [_SPAN.fullmatch(word) for word in span.split()]
    if not parts or None in parts:
        return None
    return sum(int(part[1]) * _SECONDS[part[2]] for part in parts if part is not None)
