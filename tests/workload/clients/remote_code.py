"""Loads a model whose class comes with it: `trust_remote_code` copies it into the cache's `modules/` and imports it.

    python -m tests.workload.clients.remote_code REPOSITORY

Prints the name of the class, and the sum of its weights.
"""

from __future__ import annotations

import json
import sys

import transformers


def main() -> None:
    own = transformers.AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
    print(json.dumps([type(own).__name__, float(own.scale.sum())]))


if __name__ == "__main__":
    main()
