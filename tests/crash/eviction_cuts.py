"""The power goes amid evictions: `python -m tests.crash.eviction_cuts DIRECTORY CUTS SEED`, in its own mount namespace.

As `tests.crash.power`: what the disk may hold then is put together, and looked at as a machine would that starts again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ipfsfs.exchange.eviction import put_right
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import recovery
from ipfsfs.store.layout import Store
from ipfsfs.unixfs import reference
from tests.crash.power import BOOT, images, start_again


@dataclass(slots=True)
class Found:
    """What came of all cuts. `left`: evictions that were half done."""

    cuts: int = 0
    files: int = 0
    links: int = 0
    left: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, tree: Path, names: dict[str, str]) -> list[str]:
        """What is wrong with a tree: each name stands for all of its file, there or elsewhere."""
        wrong = []
        for name, digest in names.items():
            path = tree / name
            if path.is_symlink():
                self.links += 1
                if reference.parse(os.fsencode(os.readlink(path))) is None:
                    wrong.append(f"{name} is a link to {os.readlink(path)!r}")
            elif not path.exists():
                wrong.append(f"{name} is gone")
            else:
                self.files += 1
                if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                    wrong.append(f"{name} is torn")
        return wrong

    def start(self, at: Path, names: dict[str, str]) -> list[str]:
        """What the next mount does first, and what is wrong after that."""
        tree = at / "cache" / "tree"
        wrong = self.look(tree, names)
        store, plain = Store.open(at / "cache.ipfsfs"), PlainDirectory.open(at / "cache")
        ledger = recovery.open_ledger(store)
        try:
            self.left += len(ledger.leaving.all())
            put_right(plain.fd, ledger)
        finally:
            ledger.close()
            store.close()
            plain.close()
        beside = [name for name in os.listdir(tree) if name.endswith(".evicting")]
        return wrong + self.look(tree, names) + [f"{name} was left" for name in beside]


def main() -> None:
    """Cut, and print what came of it as JSON."""
    directory, cuts, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (directory / "boot").write_text("00000000-1111-2222-3333-444444444444\n")
    subprocess.run(["mount", "--bind", directory / "boot", BOOT], check=True)
    names: dict[str, str] = json.loads((directory / "names").read_text())
    found = Found()
    base, first = (directory / "disk.img").read_bytes(), int((directory / "first").read_text())
    for position, image in images(base, directory / "writes", first, cuts, random.Random(seed)):
        at = start_again(image, directory)
        try:
            said = found.start(at, names)
            found.cuts += 1
        finally:
            subprocess.run(["umount", at], check=True)
        found.wrong += [f"cut at {position}: {one}" for one in said]
        if said:
            os.rename(directory / "cut.img", directory / f"wrong-{position}.img")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
