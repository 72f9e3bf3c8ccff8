"""A worker that writes a file and has it on disk: `python -m tests.storms.writer PATH PAGES`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from tests.storms import model
from tests.storms.reader import read


def main() -> None:
    """Write, fsync, read again."""
    path, pages = Path(sys.argv[1]), int(sys.argv[2])
    began = time.monotonic()
    model.write(path, pages)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    seconds = time.monotonic() - began
    read(str(path), pages)
    print(json.dumps({"written_s": round(seconds, 3)}))


if __name__ == "__main__":
    main()
