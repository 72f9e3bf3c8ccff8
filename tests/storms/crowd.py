"""Many processes that do the same thing to one file at the same moment:
`python -m tests.storms.crowd PATH PROCESSES SHA256`."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import sys
import time


def attend(path: str, expected: str) -> None:
    """Open, read and map the file; fails where a byte is wrong."""
    fd = os.open(path, os.O_RDONLY)
    digest = hashlib.sha256()
    at = 0
    while data := os.pread(fd, 200_000, at):
        digest.update(data)
        at += len(data)
    assert digest.hexdigest() == expected, "read: wrong bytes"
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        assert hashlib.sha256(mapped).hexdigest() == expected, "mapped: wrong bytes"
    os.close(fd)


def main() -> None:
    """Start them all, let them go together, and count who came back well."""
    path, processes, expected = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    gate, opened = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            os.close(opened)
            os.read(gate, 1)  # nobody writes: it ends when the parent opens the gate
            try:
                attend(path, expected)
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
            os._exit(0)
        children.append(child)
    began = time.monotonic()
    os.close(opened)
    failed = sum(os.waitpid(child, 0)[1] != 0 for child in children)
    print(json.dumps({"processes": processes, "failed": failed, "seconds": round(time.monotonic() - began, 2)}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
