"""Workers that keep a view busy: `python -m tests.storms.busy WHAT ROOT SECONDS SEED`, WHAT one of the functions here.

Each says how often it did its work, and fails at the first thing that is not as it should be.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

Rounds = Callable[[], int]


def scan(root: Path, seed: int) -> Rounds:
    """List everything, and stat it."""

    def once() -> int:
        seen = 0
        for folder, _, names in os.walk(root):
            for name in names:
                seen += 1
                try:
                    os.stat(os.path.join(folder, name))
                except FileNotFoundError:  # somebody renamed it meanwhile
                    continue
        assert seen, "an empty tree"
        return 1

    return once


def write(root: Path, seed: int) -> Rounds:
    """Download files as the Hub's client does, and read them again; keep a few, remove the others."""
    chance = random.Random(seed)
    blobs = root / f"models--storm--writer-{seed}" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    kept: dict[Path, bytes] = {}

    def once() -> int:
        data = chance.randbytes(chance.choice([0, 10, 5_000, 300_000, 3_000_000]))
        name = blobs / hashlib.sha256(data).hexdigest()
        unfinished = name.with_suffix(".incomplete")
        with unfinished.open("wb") as file:
            for at in range(0, len(data), 100_000):
                file.write(data[at : at + 100_000])
        os.rename(unfinished, name)
        kept[name] = data
        for path, expected in kept.items():
            assert path.read_bytes() == expected, f"{path} is not what was written"
        while len(kept) > 5:
            path = chance.choice(list(kept))
            path.unlink()
            del kept[path]
            assert not path.exists()
        return 1

    return once


def seal(root: Path, seed: int) -> Rounds:
    """Have everything sealed."""
    return lambda: _command("seal", str(root))


def seal_without_room(root: Path, seed: int) -> Rounds:
    """Have everything sealed, where the index may find no room; that is then said."""
    return lambda: _command("seal", str(root), may_degrade=True)


def verify(root: Path, seed: int) -> Rounds:
    """Have everything verified."""
    return lambda: _command("verify", str(root))


def _command(*arguments: str, may_degrade: bool = False) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "ipfsfs", *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    degraded = may_degrade and done.returncode == 1 and "none is sealed for good: " in done.stderr
    assert done.returncode == 0 or degraded, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return 1


def main() -> None:
    """Work until it is time."""
    what, root, seconds, seed = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    once: Rounds = {"scan": scan, "write": write, "seal": seal, "seal-full": seal_without_room, "verify": verify}[what](
        root, seed
    )
    until = time.monotonic() + seconds
    rounds, longest = 0, 0.0
    while time.monotonic() < until:
        began = time.monotonic()
        rounds += once()
        longest = max(longest, time.monotonic() - began)
    print(json.dumps({what: rounds, "longest_s": round(longest, 3)}))


if __name__ == "__main__":
    main()
