"""All rows, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tests.bench import cold, downloads, elsewhere, loading, memory, mounting, names, native, reads, sealing, writes
from tests.bench.row import Row

ROWS: Final[tuple[Row, ...]] = (
    *loading.ROWS,
    *reads.ROWS,
    *cold.ROWS,
    *names.ROWS,
    *downloads.ROWS,
    *writes.ROWS,
    *mounting.ROWS,
    *sealing.ROWS,
    *memory.ROWS,
)
LARGE: Final[tuple[Row, ...]] = (*memory.LARGE, *elsewhere.LARGE)
"""What takes minutes or much memory, and is asked for."""

NATIVE: Final[tuple[Row, ...]] = native.NATIVE
"""Those of a view where the kernel reads files itself."""


def selected(wanted: Iterable[str]) -> list[Row]:
    """The rows that have a line of one of these names, or whose name begins so (of `LARGE` the whole name only).

    Raises KeyError for a name that has none.
    """
    rows = [*ROWS, *LARGE, *NATIVE]
    chosen: list[Row] = []
    for name in wanted:
        found = [row for row in rows if any(line.name == name for line in row.lines)]
        found = found or [row for row in ROWS if any(line.name.startswith(name) for line in row.lines)]
        if not found:
            raise KeyError(name)
        chosen += [row for row in found if row not in chosen]
    return [row for row in rows if row in chosen]
