"""Units: what a READ of a sealed file is widened to, and compared with its checksums, before a byte is served (H19)."""

from __future__ import annotations

import errno

import xxhash

from ipfsfs.plain import content
from ipfsfs.store.seal import UNIT, Seal
from ipfsfs.view.open_files import OpenFile


def widened(offset: int, size: int, seal: Seal | None) -> tuple[int, int]:
    """Where to begin to read, and how much to read, so that all units can be compared that a READ has bytes of."""
    if seal is None:
        return offset, size
    start = offset - offset % UNIT
    end = -(-(offset + size) // UNIT) * UNIT
    return start, min(end, max(seal.size, offset + size)) - start


def read_nowait(file: OpenFile, fd: int, buffer: memoryview, start: int) -> int | None:
    """Fill `buffer` with what is in memory from `start`; returns how many bytes came, fewer than there is room for at
    the end of the file only. None where it would have to wait. Raises OSError."""
    if not file.nowait and not content.in_memory(fd, start, len(buffer)):
        return None
    try:
        got = content.read(fd, buffer, start, file.nowait)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or not file.nowait:
            raise
        file.nowait = 0
        return read_nowait(file, fd, buffer, start)
    return got if got == len(buffer) or start + got == content.stat(fd).st_size else None


def first_bad(data: memoryview, start: int, sums: memoryview | None, seal: Seal | None) -> int:
    """The number of the first unit in `data` that is not as it was sealed, or -1.

    Bytes behind the sealed size were appended since and are nobody's promise.
    """
    if sums is None or seal is None:
        return -1
    unit = start // UNIT
    sealed = min(len(data), seal.size - start)
    digest = xxhash.xxh3_64_intdigest
    for at in range(0, sealed, UNIT):
        if digest(data[at : min(at + UNIT, sealed)]) != sums[unit]:
            return unit
        unit += 1
    return -1
