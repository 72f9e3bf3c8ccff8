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
from ipfsfs.store.extents import Extents
from ipfsfs.store.layout import Store
from ipfsfs.unixfs import reference
from tests.crash.power import BOOT, images, start_again


@dataclass(slots=True)
class Found:
    """What came of all cuts. `left`: evictions that were half done. `needs_tables`: whether a link is of no use without
    the table of its leaves in the store, for only the Hub has the file."""

    needs_tables: bool
    cuts: int = 0
    files: int = 0
    links: int = 0
    left: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, tree: Path, names: dict[str, str], extents: Extents) -> list[str]:
        """What is wrong with a tree: each name stands for all of its file, there or elsewhere."""
        wrong = []
        for name, digest in names.items():
            path = tree / name
            if path.is_symlink():
                self.links += 1
                stands_for = reference.parse(os.fsencode(os.readlink(path)))
                if stands_for is None:
                    wrong.append(f"{name} is a link to {os.readlink(path)!r}")
                elif self.needs_tables and not extents.read_table(stands_for.root, stands_for.size):
                    wrong.append(f"{name} is a link, and its table is gone")
            elif not path.exists():
                wrong.append(f"{name} is gone")
            else:
                self.files += 1
                if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                    wrong.append(f"{name} is torn")
        return wrong

    def start(self, at: Path, names: dict[str, str]) -> list[str]:
        """What the next mount does first, and what is wrong after that."""
        tree = at / "cache"
        store, plain = Store.open(at / "cache.ipfsfs"), PlainDirectory.open(at / "cache")
        extents = Extents(store.extents_fd)
        ledger = recovery.open_ledger(store)
        try:
            wrong = self.look(tree, names, extents)
            self.left += len(ledger.leaving.all())
            put_right(plain.fd, ledger)
            wrong += self.look(tree, names, extents)
        finally:
            ledger.close()
            store.close()
            plain.close()
        return wrong + [f"{path} was left" for path in tree.rglob("*.evicting")]


def main() -> None:
    """Cut, and print what came of it as JSON."""
    directory, cuts, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (directory / "boot").write_text("00000000-1111-2222-3333-444444444444\n")
    subprocess.run(["mount", "--bind", directory / "boot", BOOT], check=True)
    names: dict[str, str] = json.loads((directory / "names").read_text())
    found = Found((directory / "needs-tables").exists())
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
