"""A worker that is interrupted: it says what it is about to do, does it, and says that it is done.

`python -m tests.crash.writer DIRECTORY SEED`. Lines of JSON on stdout: `["begin", OP...]`, `["done"]`, and in between
`["wrong", PATH]` should a file ever read back as something else than was written. It ends at the first error.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any


def content(seed: int, size: int) -> bytes:
    """The bytes that belong to a seed: both sides can make them."""
    return random.Random(seed).randbytes(size)


def say(*words: Any) -> None:
    """One line, at once."""
    os.write(1, json.dumps(words).encode() + b"\n")


def main() -> None:
    """Work until something fails."""
    top, seed = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    files: dict[str, bytes] = {}
    number = 0
    try:
        while True:
            number += 1
            kind = chance.choice(["download", "download", "append", "overwrite", "symlink", "remove", "rename", "read"])
            name = chance.choice(sorted(files)) if files else ""
            if kind == "download" or not name:
                _download(top, f"f{number}", chance.randrange(1 << 30), chance.choice([0, 100, 5000, 300_000]), files)
            elif kind == "append":
                say("begin", "append", name, number)
                more = content(number, 1000)
                with open(top / name, "ab", buffering=0) as file:
                    file.write(more)
                files[name] += more
                say("done")
            elif kind == "overwrite" and len(files[name]) >= 64:
                say("begin", "overwrite", name, number)
                with open(top / name, "r+b", buffering=0) as file:
                    file.write(content(number, 64))
                files[name] = content(number, 64) + files[name][64:]
                say("done")
            elif kind == "symlink":
                say("begin", "symlink", f"l{number}", name)
                (top / f"l{number}").symlink_to(name)
                say("done")
            elif kind == "remove":
                say("begin", "remove", name)
                (top / name).unlink()
                del files[name]
                say("done")
            elif kind == "rename":
                say("begin", "rename", name, f"r{number}")
                os.rename(top / name, top / f"r{number}")
                files[f"r{number}"] = files.pop(name)
                say("done")
            elif hashlib.sha256((top / name).read_bytes()).digest() != hashlib.sha256(files[name]).digest():
                say("wrong", name)
    except OSError as error:
        say("ended", error.errno)


def _download(top: Path, name: str, seed: int, size: int, files: dict[str, bytes]) -> None:
    """As clients do it: a temporary name, many writes, a rename."""
    data = content(seed, size)
    say("begin", "download", name, seed, size)
    part = top / f"{name}.incomplete"
    with open(part, "wb", buffering=0) as file:
        for at in range(0, size, 65_536):
            file.write(data[at : at + 65_536])
    os.rename(part, top / name)
    files[name] = data
    say("done")


if __name__ == "__main__":
    main()
