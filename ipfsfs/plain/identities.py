"""The identity of an open file, and whether a change made now would show in a file's times."""

from __future__ import annotations

import os
import time
from typing import Final

from ipfsfs.identity import Identity
from ipfsfs.plain import syscalls

TICK_NS: Final = 50_000_000
"""The kernel takes a file's times from a clock that ticks every 4 ms (10 ms at HZ=100). Several ticks, for a machine
that is busy."""

_SECOND_NS: Final = 1_000_000_000
_COARSEST_NS: Final = 2 * _SECOND_NS
"""FAT keeps even seconds. Whole seconds are kept by ext3, by ext4 with inodes of 128 bytes, by some network servers."""


def identity_of(fd: int) -> Identity:
    """The identity of the open file `fd`. Raises OSError."""
    return Identity.with_stat(os.fstat(fd), syscalls.birth_time_ns(fd))


def granularity_ns(time_ns: int) -> int:
    """The coarsest step, in ns, that the clock of a filesystem may have if it gave this time.

    A clock of step S gives multiples of S, and filesystems have steps of 1, 10, 100, ... ns, up to one second or two.
    So one time is enough for a bound that is never too low. It is too high by chance for one time in ten by a factor of
    ten, which costs nothing, and for one in a billion by a second.
    """
    if time_ns % _SECOND_NS == 0:
        return _COARSEST_NS if time_ns % _COARSEST_NS == 0 else _SECOND_NS
    step = 1
    while time_ns % (10 * step) == 0:
        step *= 10
    return step


def hidden_for_ns(time_ns: int) -> int:
    """For how long, from now on, another change of a file or directory could be given this very time; 0: for no longer.

    A time that lies far ahead was given by a clock that has been set back since: a change now shows.
    """
    span = granularity_ns(time_ns) + TICK_NS
    age = time.time_ns() - time_ns
    return span - age if abs(age) < span else 0


def hides_changes(time_ns: int) -> bool:
    """Whether a file or directory may change right now and keep this time. Nothing that depends on such a time may be
    remembered: a seal, a digest, a directory's listing, what the kernel keeps of a file."""
    # Most times are older than any clock is coarse; every open and listing asks.
    return abs(time.time_ns() - time_ns) < _COARSEST_NS + TICK_NS and hidden_for_ns(time_ns) > 0
