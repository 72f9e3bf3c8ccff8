"""Reading and mapping one large file, and what leads to it: open, stat."""

from __future__ import annotations

import mmap
import os
import time
from typing import Final

from ipfsfs.plain.buffers import page_aligned
from tests.bench import caches
from tests.bench.bench import At
from tests.bench.material import BIG
from tests.bench.places import READ_AHEAD_KIB, USERS_READ_AHEAD_KIB, set_read_ahead
from tests.bench.row import BARE, PLAIN, Aim, Done, Line, Row, Unit


def sequential(path: str, passes: int) -> Done:
    buffer = page_aligned(1 << 20)
    buffer[:] = bytes(len(buffer))
    done = 0
    fd = os.open(path, os.O_RDONLY)
    began = time.perf_counter()
    for _ in range(passes):
        os.lseek(fd, 0, os.SEEK_SET)
        while count := os.readv(fd, [buffer]):
            done += count
    return time.perf_counter() - began, done


def touch(path: str, passes: int) -> Done:
    fd = os.open(path, os.O_RDONLY)
    done = 0
    began = time.perf_counter()
    for _ in range(passes):
        with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
            mapped[:: mmap.PAGESIZE]
            done += len(mapped)
    return time.perf_counter() - began, done


def open_and_close(path: str, times: int) -> Done:
    began = time.perf_counter()
    for _ in range(times):
        os.close(os.open(path, os.O_RDONLY))
    return time.perf_counter() - began, times


def stat(path: str, times: int) -> Done:
    os.stat(path)
    began = time.perf_counter()
    for _ in range(times):
        os.stat(path)
    return time.perf_counter() - began, times


def read_warm(at: At) -> None:
    caches.warm(at.root / BIG)
    at.timed("read-warm", sequential, str(at.root / BIG), at.scale.passes)


def read_dropped(at: At) -> None:
    _drop_ours(at)
    at.timed("read-dropped", sequential, str(at.root / BIG), 1)


def read_cold(at: At) -> None:
    drop_all(at)
    at.timed("read-cold", sequential, str(at.root / BIG), 1)


def read_cold_as_user(at: At) -> None:
    drop_all(at)
    if at.place.daemon is not None:
        set_read_ahead(at.root, USERS_READ_AHEAD_KIB)
    try:
        at.timed("read-cold-user", sequential, str(at.root / BIG), 1)
    finally:
        if at.place.daemon is not None:
            set_read_ahead(at.root, READ_AHEAD_KIB)


def mmap_warm(at: At) -> None:
    caches.warm(at.root / BIG)
    at.timed("mmap-warm", touch, str(at.root / BIG), at.scale.passes)


def mmap_dropped(at: At) -> None:
    _drop_ours(at)
    at.timed("mmap-dropped", touch, str(at.root / BIG), 1)


def opens(at: At) -> None:
    at.timed("open", open_and_close, str(at.root / BIG), at.scale.opens)


def stats(at: At) -> None:
    at.timed("stat", stat, str(at.root / BIG), at.scale.stats)


def _drop_ours(at: At) -> None:
    """Drop what the place itself caches: FUSE's pages, while the file beneath is warm; on plain disk the disk's."""
    caches.drop(at.root / BIG)
    if at.place.daemon is not None:
        caches.warm(at.place.beneath / BIG)


def drop_all(at: At) -> None:
    """Drop the file from the place's cache and from the disk's."""
    caches.drop(at.place.beneath / BIG)  # first: what is mapped natively are these pages
    caches.drop(at.root / BIG)


def _row(name: str, title: str, unit: Unit, measure: object, aim: Aim | None = None, per: str = "MiB") -> Row:
    assert callable(measure)
    return Row(measure, (Line(name, title, unit, aim, per),), needs=("big",))


_AS_BARE: Final = Aim(BARE, at_least=0.97)

ROWS: Final = (
    _row("read-warm", "sequential read, warm", Unit.GB_PER_S, read_warm, _AS_BARE),
    _row("read-dropped", "sequential read, FUSE cache dropped (plain: disk cache)", Unit.GB_PER_S, read_dropped),
    _row("read-cold", "sequential read, every cache dropped", Unit.GB_PER_S, read_cold, Aim(PLAIN, at_least=0.9)),
    _row(
        "read-cold-user",
        "the same, read-ahead as an ordinary user's (128 KiB)",
        Unit.GB_PER_S,
        read_cold_as_user,
        Aim(PLAIN, at_least=0.8),
    ),
    _row("mmap-warm", "mmap, touch of every page, warm", Unit.GB_PER_S, mmap_warm, _AS_BARE),
    _row("mmap-dropped", "mmap, touch of every page, FUSE cache dropped", Unit.GB_PER_S, mmap_dropped),
    _row("open", "open + close", Unit.PER_S, opens, per="open"),
    _row("stat", "stat", Unit.PER_S, stats, per="1,000 stats"),
)
