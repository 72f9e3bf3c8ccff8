"""The power goes amid healing and pinning: `python -m tests.crash.healing_cuts DIRECTORY CUTS EVERY SEED GATEWAY`, in
its own mount namespace.

As `tests.crash.power`. After each cut every blob is whole at its name, or as a program has damaged it; what was healed
stays so, what a program had written is in the quarantine then, and a pin that was acknowledged has its bytes. `EVERY`
so many cuts a view is mounted, which heals all that is damaged or missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ipfsfs.exchange.kept_files import table_of
from ipfsfs.store import recovery
from ipfsfs.store.kept import Kept, name
from ipfsfs.store.layout import Store
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.unixfs import cid
from tests.crash.healing_story import Blob
from tests.crash.power import BOOT, images, start_again
from tests.support.mounted import ipfsfs
from tests.support.processes import wait_until_unused


@dataclass(slots=True)
class Found:
    """What came of all cuts: names by what stood there, pins that had to be there, views that were mounted."""

    cuts: int = 0
    good: int = 0
    damaged: int = 0
    gone: int = 0
    pins: int = 0
    views: int = 0
    wrong: list[str] = field(default_factory=list)

    def look(self, at: Path, blobs: list[Blob], position: int) -> list[str]:
        """What is wrong with names, quarantine and pins of a machine that has started again."""
        cache, store = at / "cache", at / "cache.ipfsfs"
        kept = {path.read_bytes() for path in (store / "quarantine").iterdir() if path.suffix != ".json"}
        wrong = []
        for blob in blobs:
            path = cache / blob.path
            found = path.read_bytes() if path.exists() else None
            self.gone += found is None
            self.good += found == blob.good
            self.damaged += found is not None and found != blob.good
            if said := blob.wrong(position, found, kept):
                wrong.append(f"{blob.path}: {said}")
        return wrong + self.look_at_pins(store, blobs, position)

    def look_at_pins(self, directory: Path, blobs: list[Blob], position: int) -> list[str]:
        """What is wrong with pins that were acknowledged."""
        store, wrong = Store.open(directory), []
        try:
            ledger = recovery.open_ledger(store)
            try:
                states = {pin.root: pin.state for pin in ledger.pins.all()}
            finally:
                ledger.close()
        finally:
            store.close()
        with Kept.of(directory) as kept:
            for blob in blobs:
                file, due = PinnedFile(cid.from_text(blob.cid), len(blob.good)), blob.is_pinned(position)
                if due is False and file.root in states:
                    wrong.append(f"{blob.path}: its pin is there again")
                if due is not True:
                    continue
                self.pins += 1
                if states.get(file.root) != "pinned":
                    wrong.append(f"{blob.path}: its pin is {states.get(file.root)}")
                elif not kept.holds(file) or (directory / "extents/pinned" / name(file)).read_bytes() != blob.good:
                    wrong.append(f"{blob.path}: its pin has not its bytes")
                elif table_of(kept, file) is None:
                    wrong.append(f"{blob.path}: its pin has not the table of its leaves")
        return wrong


def heal(cache: Path, blobs: list[Blob], gateway: str) -> list[str]:
    """Mount, have all healed, unmount; returns what is wrong then."""
    wrong = []
    ipfsfs("mount", cache, "--force", "--gateway", gateway, "--hub", "none")
    try:
        done = ipfsfs("restore", cache, check=False)
        for blob in blobs:
            path = cache / blob.path
            if not path.exists():
                continue  # it is not linked to, or the Hub alone would have it
            if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                wrong.append(f"{blob.path} is not healed: {done.stdout}{done.stderr}")
        left = [one for one in os.listdir((cache / blobs[0].path).parent) if len(one) != 64]
        wrong += [f"{one} was left" for one in left]
    finally:
        ipfsfs("umount", cache)
        wait_until_unused(cache.parent)
    return wrong


def main() -> None:
    """Cut, and print what came of it as JSON."""
    directory, cuts, every, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (directory / "boot").write_text("00000000-1111-2222-3333-444444444444\n")
    subprocess.run(["mount", "--bind", directory / "boot", BOOT], check=True)
    first, blobs = pickle.loads((directory / "story").read_bytes())
    found = Found()
    base = (directory / "disk.img").read_bytes()
    for position, image in images(base, directory / "writes", first, cuts, random.Random(seed)):
        at = start_again(image, directory)
        try:
            said = found.look(at, blobs, position)
            found.cuts += 1
            if found.cuts % every == 0:
                said += heal(at / "cache", blobs, sys.argv[5])
                found.views += 1
        finally:
            subprocess.run(["umount", at], check=True)
        found.wrong += [f"cut at {position}: {one}" for one in said]
        if said:
            os.rename(directory / "cut.img", directory / f"wrong-{position}.img")
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
