"""Counts in a file under a lock that many processes contend for, as the hub client locks a blob.

    python -m tests.workload.clients.locks LOCK COUNTER TIMES

Adds TIMES to the number in COUNTER, each time under the lock, and prints what is seen of the lock meanwhile.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from filelock import FileLock, Timeout


def main() -> None:
    path, counter, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    identities, refused = set(), 0
    for _ in range(times):
        with FileLock(path):
            counter.write_text(str(int(counter.read_text()) + 1))
            info = path.stat()
            identities.add((info.st_dev, info.st_ino, info.st_nlink >= 1))
            try:
                FileLock(path, timeout=0, is_singleton=False).acquire()
            except Timeout:
                refused += 1
    print(json.dumps({"identities": len(identities), "refused": refused}))


if __name__ == "__main__":
    main()
