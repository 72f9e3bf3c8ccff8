"""Making files: small ones, many at once, a large one; and locks, which are files too."""

from __future__ import annotations

import os
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.bench import material
from tests.bench.bench import At
from tests.bench.row import BARE, Aim, Done, Line, Row, Unit


def ready_locks() -> None:
    """Import what locks."""
    import_module("filelock")


def small_files(directory: str, times: int) -> Done:
    os.mkdir(directory)
    at = os.path.join(directory, "")
    content = b"x" * 1000
    began = time.perf_counter()
    for number in range(times):
        with open(f"{at}made{number}", "wb") as file:
            file.write(content)
        os.rename(f"{at}made{number}", f"{at}renamed{number}")
        os.symlink(f"renamed{number}", f"{at}link{number}")
        os.unlink(f"{at}link{number}")
        os.unlink(f"{at}renamed{number}")
    seconds = time.perf_counter() - began
    os.rmdir(directory)
    return seconds, times


def untar(archive: str, directory: str, files: int) -> Done:
    began = time.perf_counter()
    subprocess.run(["tar", "-C", directory, "-xf", archive], check=True)
    return time.perf_counter() - began, files


def copy_in(source: str, target: str) -> Done:
    began = time.perf_counter()
    subprocess.run(["cp", source, target], check=True)
    return time.perf_counter() - began, os.stat(source).st_size


def lock(path: str, times: int) -> Done:
    from filelock import FileLock

    lock = FileLock(path)
    began = time.perf_counter()
    for _ in range(times):
        lock.acquire()
        lock.release()
    return time.perf_counter() - began, times


def make_small_files(at: At) -> None:
    at.written_back()
    at.timed("small", small_files, str(at.root / "small"), at.scale.small_files)


def unpack(at: At) -> None:
    tree = at.root / "untarred"
    tree.mkdir()
    at.written_back()
    at.timed("untar", untar, str(material.tar(at.bench)), str(tree), at.scale.untar_files)
    # ext4 goes through all that was deleted in the last 35 s at each new file: they are not to be deleted now.
    (at.place.beneath / tree.name).rename(at.bench.scratch / f"untarred-{at.place.name}-{at.round}")


def copy_large(at: At) -> None:
    source, target = material.copied(at.bench), at.root / "copied.bin"
    with source.open("rb") as warm:
        while warm.read(1 << 20):
            pass
    at.written_back()
    at.timed("cp", copy_in, str(source), str(target))
    target.unlink()


def take_locks(at: At) -> None:
    path = at.root / "bench.lock"
    at.timed("flock", lock, str(path), at.scale.locks, ready=ready_locks)
    Path(path).unlink(missing_ok=True)


ROWS: Final = (
    Row(
        make_small_files,
        (Line("small", "small files (create, rename, symlink, unlink)", Unit.PER_S, Aim(BARE, at_least=1.2), "file"),),
    ),
    Row(
        unpack,
        (Line("untar", "untar of {untar_files:,} files of 1 KB", Unit.PER_S, Aim(BARE, at_least=1.2), "file"),),
        ("tar",),
        rounds_most=3,
    ),
    Row(copy_large, (Line("cp", "cp of {copied} in", Unit.GB_PER_S, Aim(BARE, at_least=1), "MiB"),), ("copied",)),
    Row(take_locks, (Line("flock", "flock, acquire + release", Unit.PER_S, Aim(BARE, at_least=1), "lock"),)),
)
