"""A worker that maps a model and touches random pages: `python -m tests.storms.faulter PATH SECONDS THREADS SEED`.

Page faults happen in memcmp(3) called without the interpreter's lock, so threads fault at the same time. Half of the
threads map privately, half shared; half of them tell the kernel that they jump about. Every byte is compared.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import sys
import threading
import time

from tests.storms.model import PAGE, page

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = _libc.mlock.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.memcmp.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)

_TOUCHED = 400
"""Pages that are touched before the mapping is emptied, and what of the file nobody maps is dropped from the cache."""


def fault(path: str, until: float, seed: int, found: list[tuple[int, float]]) -> None:
    """Touch pages until it is time; adds how many, and the longest that one took (s)."""
    chance = random.Random(seed)
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    how = mmap.MAP_SHARED if seed % 2 else mmap.MAP_PRIVATE
    address = _libc.mmap(None, size, mmap.PROT_READ, how, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    if seed % 4 < 2:
        _libc.madvise(address, size, mmap.MADV_RANDOM)
    touched, longest = 0, 0.0
    while time.monotonic() < until:
        number = chance.randrange(size // PAGE)
        expected = page(number)
        began = time.monotonic()
        if _libc.memcmp(address + number * PAGE, expected, PAGE):
            raise AssertionError(f"page {number} of {path} is wrong")
        longest = max(longest, time.monotonic() - began)
        touched += 1
        if touched % _TOUCHED == 0:
            _libc.madvise(address, size, mmap.MADV_DONTNEED)
            os.posix_fadvise(fd, 0, size, os.POSIX_FADV_DONTNEED)
    _libc.munmap(address, size)
    os.close(fd)
    found.append((touched, longest))


def main() -> None:
    """Fault, and say how often."""
    path, seconds, threads, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    until = time.monotonic() + seconds
    found: list[tuple[int, float]] = []
    running = [threading.Thread(target=fault, args=(path, until, seed + at, found)) for at in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if len(found) != threads:
        sys.exit("a thread failed")
    print(json.dumps({"pages": sum(touched for touched, _ in found), "longest_s": round(max(f for _, f in found), 3)}))


if __name__ == "__main__":
    main()
