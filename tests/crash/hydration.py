"""The power goes while files become resident: `python -m tests.crash.hydration DIRECTORY CUTS EVERY SEED GATEWAY`.

As `tests.crash.power` does it, in its own mount namespace. After each cut every file is a link that names its content,
or has all of it; `EVERY` so many cuts a view is mounted, and has all of it.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

from tests.crash.power import BOOT, images, start_again
from tests.support.mounted import ipfsfs
from tests.support.processes import wait_until_unused

SIZES = (10, 70_000, 300_000, 1 << 20, 2_500_000, 2_500_000)
"""Bytes of the files; the last two have one root."""


def contents(seed: int) -> dict[str, bytes]:
    """What the files hold that are to become resident."""
    found = {f"file{n}": random.Random(f"{seed} {n}").randbytes(size) for n, size in enumerate(SIZES)}
    found[f"file{len(SIZES) - 1}"] = found[f"file{len(SIZES) - 2}"]
    return found


def state(path: Path, data: bytes, text: str) -> str:
    """What a file is on plain disk: "link" or "file", or what is wrong with it."""
    if path.is_symlink():
        return "link" if os.readlink(path) == text else f"{path.name}: a link to {os.readlink(path)!r}"
    if not path.exists():
        return f"{path.name}: it is gone"
    return "file" if path.read_bytes() == data else f"{path.name}: other bytes"


def states(directory: Path, files: dict[str, bytes], texts: dict[str, str]) -> list[str]:
    """The same of all of them."""
    return [state(directory / name, data, texts[name]) for name, data in files.items()]


def read_through_view(cache: Path, files: dict[str, bytes], gateway: str) -> list[str]:
    """Mount, read everything, unmount; returns what is wrong."""
    wrong = []
    ipfsfs("mount", cache, "--force", "--gateway", gateway, "--patience", "10")
    try:
        for name, data in files.items():
            if (cache / name).read_bytes() != data:
                wrong.append(f"{name}: other bytes through the view")
        left = sorted(set(os.listdir(cache)) - set(files))
    finally:
        ipfsfs("umount", cache)
        wait_until_unused(cache.parent)
    return wrong + [f"{name}: it was left behind" for name in left]


def main() -> None:
    """Cut, and print what came of it as JSON."""
    directory, cuts, every, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (directory / "boot").write_text("00000000-1111-2222-3333-444444444444\n")
    subprocess.run(["mount", "--bind", directory / "boot", BOOT], check=True)
    first, files, texts = pickle.loads((directory / "story").read_bytes())
    found = {"cuts": 0, "views": 0, "link": 0, "file": 0}
    wrong = list[str]()
    base = (directory / "disk.img").read_bytes()
    for position, image in images(base, directory / "writes", first, cuts, random.Random(seed)):
        at = start_again(image, directory)
        said = []
        try:
            for one in states(at / "cache", files, texts):
                if one in found:
                    found[one] += 1
                else:
                    said.append(one)
            found["cuts"] += 1
            if found["cuts"] % every == 0:
                said += read_through_view(at / "cache", files, sys.argv[5])
                found["views"] += 1
        finally:
            subprocess.run(["umount", at], check=True)
        wrong += [f"cut at {position}: {one}" for one in said]
    print(json.dumps({**found, "wrong": wrong}))


if __name__ == "__main__":
    main()
