"""A worker that reads a file over and over: `python -m tests.storms.reader PATH PAGES SECONDS [once]`.

Before each round it has the kernel drop what it has cached of the file, so that the view is asked. Says how many rounds
there were and how long the longest took. With `once`: reads the file once.
"""

from __future__ import annotations

import json
import os
import sys
import time

from tests.storms.model import PAGE, page


def read(path: str, pages: int) -> None:
    """Read all, and compare."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for number in range(pages):
        if os.pread(fd, PAGE, number * PAGE) != page(number):
            raise AssertionError(f"page {number} of {path} is wrong")
    os.close(fd)


def main() -> None:
    """Read until it is time."""
    path, pages, until = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    rounds, longest = 0, 0.0
    while time.monotonic() < until or not rounds:
        began = time.monotonic()
        read(path, pages)
        longest = max(longest, time.monotonic() - began)
        rounds += 1
        if sys.argv[4:] == ["once"]:
            break
    print(json.dumps({"rounds": rounds, "longest_s": round(longest, 3)}))


if __name__ == "__main__":
    main()
