"""Maps a safetensors file, says so, and reads its weights only once it is told to.

    python -m tests.workload.clients.mapped FILE

Prints "mapped", waits for a line on stdin, prints the fingerprint of all weights.
"""

from __future__ import annotations

import json
import sys

from safetensors.torch import load_file

from tests.support.models import fingerprint


def main() -> None:
    weights = load_file(sys.argv[1])
    print("mapped", flush=True)
    sys.stdin.readline()
    print(json.dumps(fingerprint(weights.items())))


if __name__ == "__main__":
    main()
