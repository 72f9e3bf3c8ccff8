"""The power goes, over and over: `python -m tests.crash.power DIRECTORY CUTS EVERY SEED`, in its own mount namespace.

From the image that was there first and the log of writes, what the disk would hold is put together: all that was
flushed, and of what was written since then everything, nothing, or any part of it, torn between sectors. Then comes
what a machine does that starts again, with another boot id: fsck.ext4, mount, and a look at everything. `EVERY` so
many cuts a view is mounted, and all is read and verified through it.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store import check, recovery
from ipfsfs.store.layout import Store
from ipfsfs.store.seal import SUM_SIZE, UNIT, boot_id
from tests.crash.story import Story
from tests.support.mounted import ipfsfs
from tests.support.processes import wait_until_unused
from tests.support.recording_disk import Record, records

SECTOR: Final = 512
BOOT: Final = "/proc/sys/kernel/random/boot_id"


@dataclass(slots=True)
class Found:
    """What came of all cuts."""

    cuts: int = 0
    views: int = 0
    sure: int = 0
    seals: int = 0
    vouching: int = 0


def images(base: bytes, log: Path, first: int, cuts: int, chance: random.Random) -> Iterator[tuple[int, bytes]]:
    """The position of each cut, and what the disk holds then: at flushes, and in between."""
    written = list(records(log))
    candidates = [n for n, record in enumerate(written) if record.end >= first]
    flushes = [n for n in candidates if written[n].is_flush]
    chosen = set(chance.sample(flushes, min(len(flushes), cuts // 2)))
    chosen |= set(chance.sample(candidates, min(len(candidates), cuts - len(chosen))))
    flushed, since = bytearray(base), list[Record]()
    for n, record in enumerate(written):
        if record.is_flush:
            for earlier in since:
                flushed[earlier.offset : earlier.offset + len(earlier.data)] = earlier.data
            since = []
        else:
            since.append(record)
        if n in chosen:
            image = bytearray(flushed)
            kept = chance.choice([0.0, 0.5, 0.9, 1.0])
            for later in chance.sample(since, len(since)) if chance.random() < 0.5 else since:
                for at in range(0, len(later.data), SECTOR if chance.random() < 0.2 else len(later.data)):
                    if chance.random() < kept:
                        step = SECTOR if len(later.data) > SECTOR and at else len(later.data)
                        image[later.offset + at : later.offset + at + step] = later.data[at : at + step]
            yield record.end, bytes(image)


def look(at: Path, story: Story, position: int, found: Found) -> list[str]:
    """What is wrong with the files and the store of a machine that has started again."""
    cache = at / "cache"
    wrong = []
    for name in story.versions:
        path = cache / name
        if story.how[name] == "patched" and not path.exists():
            path = cache / f"{name}.incomplete"  # it may have been put aside at that moment
        if said := story.wrong(name, position, path.read_bytes() if path.exists() else None):
            wrong.append(f"{name}: {said}")
        found.sure += 1
    return wrong + look_at_store(cache, at / "cache.ipfsfs", found)


def look_at_store(cache: Path, directory: Path, found: Found) -> list[str]:
    """The store must open as a mount would open it, and no seal may vouch for bytes that are not there."""
    plain = PlainDirectory.open(cache)
    store = Store.open(directory)
    try:
        ledger = recovery.open_ledger(store)
        index = recovery.open_index(store, ledger, plain_root=plain.root)
        try:
            wrong = []
            paths = {path.stat().st_ino: path for path in cache.rglob("*") if path.is_file()}
            for seal in index.iterate():
                path = paths.get(seal.ino)
                found.seals += 1
                if path is None or not seal.identity.agrees(path.stat()) or not seal.vouches(boot_id()):
                    continue
                with path.open("rb") as file:
                    if syscalls.birth_time_ns(file.fileno()) != seal.identity.born_ns:
                        continue
                    data = file.read()
                found.vouching += 1
                sums = [
                    xxhash.xxh3_64_intdigest(data[at : at + UNIT]).to_bytes(SUM_SIZE, "little")
                    for at in range(0, len(data), UNIT)
                ]
                if b"".join(sums) != seal.sums:
                    wrong.append(f"{path.name}: a seal vouches for bytes that are not there")
        finally:
            index.close()
            ledger.close()
    finally:
        store.close()
        plain.close()
    return wrong + [f"store: {problem.where}: {problem.what}" for problem in _problems(directory, plain)]


def _problems(directory: Path, plain: PlainDirectory) -> list[check.Problem]:
    store = Store.open(directory)
    try:
        return check.check(store, plain_root=plain.root)
    finally:
        store.close()


def view(at: Path) -> list[str]:
    """Mount, read everything, seal, verify, unmount."""
    cache, wrong = at / "cache", []
    ipfsfs("mount", cache, "--force")
    try:
        for path in sorted(cache.rglob("*")):
            try:
                if path.is_file():
                    path.read_bytes()
            except OSError as error:
                wrong.append(f"{path.name}: {error.strerror}, through the view")
        ipfsfs("seal", cache)
        if (done := ipfsfs("verify", cache, check=False)).returncode:
            wrong.append(done.stdout)
    finally:
        ipfsfs("umount", cache)
        wait_until_unused(at)
    return wrong


def start_again(image: bytes, directory: Path) -> Path:
    """fsck.ext4 and mount, as at a start."""
    path, at = directory / "cut.img", directory / "cut"
    at.mkdir(exist_ok=True)
    path.write_bytes(image)
    checked = subprocess.run(["e2fsck", "-f", "-y", path], capture_output=True, text=True, check=False)
    assert checked.returncode in (0, 1), checked.stdout
    subprocess.run(["mount", "-o", "loop", path, at], check=True)
    return at


def main() -> None:
    """Cut, and print what came of it as JSON."""
    directory, cuts, every, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (directory / "boot").write_text("00000000-1111-2222-3333-444444444444\n")
    subprocess.run(["mount", "--bind", directory / "boot", BOOT], check=True)
    first, story = pickle.loads((directory / "story").read_bytes())
    found, wrong = Found(), list[str]()
    base = (directory / "disk.img").read_bytes()
    for position, image in images(base, directory / "writes", first, cuts, random.Random(seed)):
        at = start_again(image, directory)
        try:
            said = look(at, story, position, found)
            found.cuts += 1
            if found.cuts % every == 0:
                said += view(at)
                found.views += 1
        finally:
            subprocess.run(["umount", at], check=True)
        wrong += [f"cut at {position}: {one}" for one in said]
        if said:
            os.rename(directory / "cut.img", directory / f"wrong-{position}.img")
    print(json.dumps({**{name: getattr(found, name) for name in Found.__slots__}, "wrong": wrong}))


if __name__ == "__main__":
    main()
