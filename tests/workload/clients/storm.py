"""Reads one safetensors file from many threads at once, each through a mapping of its own, in an order of its own.

    python -m tests.workload.clients.storm FILE THREADS

The page cache of the file is dropped while they read, so that page faults reach the filesystem all the time. Prints
the fingerprint that every thread has found; fails if they differ.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from safetensors import safe_open

from tests.support.models import fingerprint


def read_all(path: str, seed: int) -> str:
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        random.Random(seed).shuffle(names)
        return fingerprint((name, file.get_tensor(name)) for name in names)


def main() -> None:
    path, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    done = threading.Event()

    def drop_cache() -> None:
        file = os.open(path, os.O_RDONLY)
        while not done.wait(0.02):
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)

    dropper = threading.Thread(target=drop_cache)
    dropper.start()
    try:
        with ThreadPoolExecutor(threads) as pool:
            found = set(pool.map(read_all, [path] * threads, range(threads)))
    finally:
        done.set()
        dropper.join()
    assert len(found) == 1, f"threads of one process read different weights: {sorted(found)}"
    print(json.dumps(found.pop()))


if __name__ == "__main__":
    main()
