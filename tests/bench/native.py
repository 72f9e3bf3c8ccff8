"""Files that the kernel reads itself, past the daemon: `python -m tests.bench --native`.

The view is mounted with `--check native`; what is sealed counts as verified, so that all reads are native from the
first on. On a filesystem that checks what it reads, they are without that option.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from tests.bench import caches, loading, material, reads
from tests.bench.bench import At
from tests.bench.material import BIG
from tests.bench.row import MOUNTED, PLAIN, Aim, Done, Line, Row, Unit

_GIB: Final = 1 << 30


def ready_with_all_threads() -> None:
    """As `ready_transformers`, with the threads that a worker has who says nothing."""
    import torch

    threads = torch.get_num_threads()
    loading.ready_transformers()
    torch.set_num_threads(threads)


def load_model_again() -> Done:
    """The second load of a process."""
    loading.load_model()
    return loading.load_model()


def map_and_measure(path: str) -> Done:
    """Touch every page of a file; how often its bytes are in memory then."""
    before = _cached_bytes()
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
        mapped[:: mmap.PAGESIZE]
        return 1.0, (_cached_bytes() - before) / size


def _cached_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Cached:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


def models(at: At) -> None:
    if not at.round:
        _drop_model(at)
    at.run(loading.load_model, ready=loading.ready_transformers)
    at.timed("native-load", loading.load_model, ready=loading.ready_transformers)


def models_again(at: At) -> None:
    at.timed("native-load-again", load_model_again, ready=ready_with_all_threads)


def read_warm(at: At) -> None:
    caches.warm(at.root / BIG)
    at.timed("native-read-warm", reads.sequential, str(at.root / BIG), at.scale.passes)


def mmap_warm(at: At) -> None:
    _drop(at)  # else the pages are those that sealing has read, in smaller pieces
    caches.warm(at.root / BIG)
    at.timed("native-mmap-warm", reads.touch, str(at.root / BIG), at.scale.passes)


def read_cold(at: At) -> None:
    _drop(at)
    at.timed("native-read-cold", reads.sequential, str(at.root / BIG), 1)


def cpu_of_reads(at: At) -> None:
    """What the daemon takes for each GiB of cold reads."""
    _drop(at)
    client = at.bench.client(at.place, None)
    client.wait_until_ready()
    at.bench.quiet()
    with at.bench.watch(at.place) as seen:
        _, done = client.run(reads.sequential, str(at.root / BIG), 1)
    at.record("native-cpu", (seen["daemon"] / done * _GIB, 1.0))


def memory(at: At) -> None:
    _drop(at)
    at.timed("native-memory", map_and_measure, str(at.root / BIG))


def _drop_model(at: At) -> None:
    for blob in (material.folder(at.place.beneath, material.MODEL) / "blobs").iterdir():
        caches.drop(blob)


def _drop(at: At) -> None:
    caches.drop(at.place.beneath / BIG)  # first: what is mapped natively are these pages
    caches.drop(at.root / BIG)


_QUICK: Final = Aim(PLAIN, at_least=0.97)
_SOON: Final = Aim(PLAIN, at_most=1.03)

NATIVE: Final = (
    Row(
        models,
        (Line("native-load", "from_pretrained and touch of every page, warm, the first", Unit.SECONDS, _SOON),),
        ("model",),
    ),
    Row(
        models_again,
        (Line("native-load-again", "the same, repeated in one process, all threads", Unit.SECONDS, _SOON),),
        ("model",),
    ),
    Row(read_warm, (Line("native-read-warm", "sequential read, warm", Unit.GB_PER_S, _QUICK),), ("big",)),
    Row(mmap_warm, (Line("native-mmap-warm", "mmap, touch of every page, warm", Unit.GB_PER_S, _QUICK),), ("big",)),
    Row(
        read_cold,
        (Line("native-read-cold", "sequential read, every cache dropped", Unit.GB_PER_S, _QUICK),),
        ("big",),
    ),
    Row(
        cpu_of_reads,
        (Line("native-cpu", "CPU of all threads of the daemon for a GiB of that", Unit.SECONDS, Aim(at_most=0.01)),),
        ("big",),
        MOUNTED,
    ),
    Row(
        memory,
        (
            Line(
                "native-memory",
                "how often a mapped file of {big} is in memory, each page touched",
                Unit.TIMES,
                Aim(at_most=1.1),
            ),
        ),
        ("big",),
    ),
)
