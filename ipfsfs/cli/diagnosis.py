"""What `doctor` says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing looked at. `ok`: True is well, False is needed and lacking, None is worth knowing and stops nothing."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""
