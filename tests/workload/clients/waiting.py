"""Downloads one file of a model, and logs while it waits for a lock: every second, not every ten.

    python -m tests.workload.clients.waiting REPO FILE

Prints what is in the file's name in the cache, as its sha256.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from huggingface_hub import constants, hf_hub_download


def main() -> None:
    constants.FILELOCK_LOG_EVERY_SECONDS = 1
    found = Path(hf_hub_download(sys.argv[1], sys.argv[2]))
    print(json.dumps(hashlib.sha256(found.read_bytes()).hexdigest()))


if __name__ == "__main__":
    main()
