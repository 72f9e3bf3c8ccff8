"""How files are read, for who asks."""

from __future__ import annotations

from dataclasses import dataclass

from ipfsfs.plain.checked import Checker


@dataclass(slots=True, frozen=True)
class Reads:
    """How a file is read that is opened now. `checked_by`: who compares its bytes with what was written: the daemon at
    each READ, the filesystem beneath, the sealer from time to time, or nobody. `native`: whether the kernel reads it
    past the daemon, and `why` it does or does not."""

    checked_by: Checker
    native: bool
    why: str
