"""Sealing: how fast, and what a worker that loads a model meanwhile notices of it."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Final

from ipfsfs.plain.buffers import page_aligned
from tests.bench import caches, material
from tests.bench.bench import At
from tests.bench.loading import load_model, ready_transformers
from tests.bench.places import View
from tests.bench.row import PLAIN, VIEW, Aim, Done, Line, Row, Unit
from tests.support.sealers import slow

_LARGE_FILES: Final = 4
_LOADS: Final = 5
_BALLAST: Final = 64 << 30
"""A file whose sealing takes longer than any measurement."""
_OLD_ENOUGH_S: Final = 0.2


def seal_one(directory: str, name: str) -> Done:
    """What the sealer does to a file, by the CPU seconds of one thread: no matter who else is at work."""
    from ipfsfs.plain import syscalls
    from ipfsfs.workers.sealer import hashing, jobs
    from ipfsfs.workers.sealer.outcome import Sealed

    root = jobs.Root.at(os.open(directory, os.O_PATH | os.O_DIRECTORY))
    buffer = hashing.new_buffer()
    size = syscalls.statx(root.fd, name.encode()).size
    began = time.thread_time()
    job = jobs.seal(root, name.encode(), None, "auto", buffer, whole=False)
    while True:
        try:
            next(job)
        except StopIteration as ended:
            outcome = ended.value
            break
    seconds = time.thread_time() - began
    assert isinstance(outcome, Sealed), outcome
    return seconds, size


def hash_one(directory: str, name: str) -> Done:
    """sha2-256 alone, the most of what sealing is, on this processor at this moment."""
    from hashlib import sha256

    buffer = page_aligned(1 << 20)
    size = 0
    with open(os.path.join(directory, name), "rb", buffering=0) as file:
        digest = sha256()
        began = time.thread_time()
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            size += count
    return time.thread_time() - began, size


def on_one_core(at: At) -> None:
    caches.warm(at.place.beneath / material.BIG)
    hashing = hash_one if at.place.name == PLAIN else seal_one
    at.timed("seal-core", hashing, str(at.place.beneath), material.BIG)


def seal_trees(at: At) -> None:
    """`ipfsfs seal` of a few large files, then of many small ones; the page cache has them all."""
    assert isinstance(at.place, View)
    tree = at.place.beneath / "to-seal"
    (tree / "large").mkdir(parents=True)
    (tree / "small").mkdir()
    for number in range(_LARGE_FILES):
        material.write(tree / "large" / f"{number}.bin", at.scale.big // _LARGE_FILES)
    for number in range(at.scale.sealed_files):
        (tree / "small" / f"{number}.txt").write_bytes(b"%d\n" % number * 200)
    at.written_back()
    time.sleep(_OLD_ENOUGH_S)
    for line, below in (("seal-large", "large"), ("seal-small", "small")):
        with at.bench.watch(at.place) as seen:
            said = at.place.seal(f"to-seal/{below}")
        assert not said.failed, said
        at.record(line, (said.seconds, said.bytes if below == "large" else said.files), seen)
    shutil.rmtree(at.root / "to-seal")


def slowed_down(at: At) -> None:
    """How many times longer a warm load takes while a large file is being sealed."""
    assert isinstance(at.place, View)
    view = at.place
    at.run(load_model, ready=ready_transformers)
    alone = _load(at)
    ballast = view.beneath / "ballast"
    slow(ballast, _BALLAST)
    time.sleep(_OLD_ENOUGH_S)
    sealing = view.start_sealing("ballast")
    try:
        _wait_until_sealing(view)
        meanwhile = _load(at)
        assert view.status().sealing == "ballast", "it was sealed before the loads had ended"
    finally:
        sealing.kill()
        sealing.wait()
        Path(ballast).unlink()
    at.record("seal-slows", (1.0, meanwhile / alone))


def _load(at: At) -> float:
    return statistics.median(float(at.run(load_model, ready=ready_transformers)[0]) for _ in range(_LOADS))


def _wait_until_sealing(view: View) -> None:
    deadline = time.monotonic() + 30
    while view.status().sealing != "ballast":
        assert time.monotonic() < deadline, "sealing does not begin"
        time.sleep(0.05)


ROWS: Final = (
    Row(
        on_one_core,
        (
            Line(
                "seal-core",
                "sealing, one core, by CPU time (plain: sha256 alone)",
                Unit.GB_PER_S,
                Aim(at_least=1.5),
                "MiB",
            ),
        ),
        ("big",),
        (PLAIN, VIEW),
    ),
    Row(
        seal_trees,
        (
            Line("seal-large", "`ipfsfs seal` of large files", Unit.GB_PER_S, per="MiB"),
            Line("seal-small", "`ipfsfs seal` of files of 1 KB", Unit.PER_S, per="file"),
        ),
        (),
        (VIEW,),
    ),
    Row(
        slowed_down,
        (Line("seal-slows", "from_pretrained while sealing goes on, against without", Unit.TIMES, Aim(at_most=1.05)),),
        ("model",),
        (VIEW,),
    ),
)
