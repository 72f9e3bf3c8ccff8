"""How long a daemon that was asked to stop may go on: as long as its unit says, where it is a service of systemd."""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import trio

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
