"""What the view knows of seals, and when it is in the index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path

import pytest
import trio

from ipfsfs.identity import PlainRoot
from ipfsfs.store import recovery
from ipfsfs.store import seals as seals_module
from ipfsfs.store.layout import Store
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.findings import Finding
from tests.support.filesystems import mounted_tmpfs
from tests.support.seals import DEV, seal_of

_ROOT = PlainRoot(DEV, 2, 3)
_FULL = "database or disk is full"


@contextmanager
def _store(directory: Path) -> Iterator[tuple[Store, Seals]]:
    """A store, and the seals in it as a view would hold them."""
    store = Store.open(directory)
    ledger = recovery.open_ledger(store)
    seals = Seals(DEV, recovery.open_index(store, ledger, plain_root=_ROOT), ledger)
    try:
        yield store, seals
    finally:
        seals.retire()
        store.close()


@asynccontextmanager
async def _running(seals: Seals) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(seals.run)
        yield nursery
        nursery.cancel_scope.cancel()


def _in_index(seals: Seals) -> list[int]:
    assert seals.index is not None
    return sorted(seal.ino for seal in seals.index.iterate())


async def _until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - what changes has no event of its own
            await trio.sleep(0.02)


def test_waiting_for_the_index_ends_while_sealing_goes_on(tmp_path: Path) -> None:
    """`status` waits so: while a million files are sealed, something is always still on its way to the index."""

    async def go_on_sealing(seals: Seals) -> None:
        ino = 1000
        while True:
            seals.put(seal_of(b"x", ino))
            ino += 1
            await trio.lowlevel.checkpoint()

    async def main(seals: Seals) -> None:
        async with _running(seals) as nursery:
            nursery.start_soon(go_on_sealing, seals)
            await trio.sleep(0.1)
            for ino in (7, 8):
                seals.put(seal_of(b"x", ino))
                with trio.fail_after(20):
                    await seals.flush()
                assert seals.index is not None
                found = seals.index.get(ino)
                assert found is not None
                assert found.ino == ino

    with _store(tmp_path / "store") as (_, seals):
        trio.run(main, seals)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB for a store."""
    with mounted_tmpfs(tmp_path, "size=3m") as disk:
        yield disk


@pytest.mark.parametrize(("content", "marks"), [(b"", 0), (b"a", 1)])
def test_only_the_seal_of_an_empty_file_is_broken_without_a_mark(tmp_path: Path, content: bytes, marks: int) -> None:
    """Where a power cut brings that seal back, it is right whenever it agrees: no other file is of that size."""
    seal = seal_of(content)

    async def break_it() -> int:
        with _store(tmp_path / "store") as (_, seals):
            seals.put(seal)
            await seals.unseal(seal)
            return len(seals.ledger.marks)

    assert trio.run(break_it) == marks


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _write_on(file)
    return filler


def _write_on(file: FileIO) -> None:
    while file.write(bytes(4096)):
        pass


@pytest.mark.root
def test_a_disk_that_is_full_for_a_moment_costs_nothing_that_was_sealed(small: Path) -> None:
    async def main(seals: Seals) -> None:
        async with _running(seals):
            seals.put(seal_of(b"a", 1))
            await seals.flush()
            filler = _fill(small)
            many = [seal_of(bytes([ino % 251]), ino) for ino in range(10, 3_000)]
            for seal in many:
                seals.put(seal)
            seals.forget(1)
            await seals.flush()
            assert _FULL in seals.degraded
            await seals.record(lambda ledger: ledger.findings.add(Finding("rot", b"path", 5, "x" * 1_000_000, "", 7)))
            assert seals.ledger.findings.all() == []
            assert [seals.get(seal.ino) for seal in many] == many, "they are known all the same"
            assert seals.get(1) is None
            filler.unlink()
            await _until(lambda: not seals.degraded)
            assert _in_index(seals) == [seal.ino for seal in many]
            assert [finding.path for finding in seals.ledger.findings.all()] == [b"path"]

    with _store(small / "store") as (_, seals):
        trio.run(main, seals)
    with _store(small / "store") as (_, seals):
        assert len(_in_index(seals)) == 2_990


@pytest.mark.root
def test_h17_on_a_full_disk_seals_are_marked_as_broken_and_what_else_is_sealed_stays(small: Path) -> None:
    """An overwrite needs no room, so it succeeds there; the room for its mark was set aside. Mounted again while the
    disk is still full, the index cannot be written, and what is marked is no seal all the same."""
    broken = list(range(100, 140))

    async def main(seals: Seals) -> None:
        async with _running(seals):
            for ino in range(100, 1_000):
                seals.put(seal_of(b"a", ino))
            await seals.flush()
            _fill(small)
            for ino in broken:
                seal = seals.get(ino)
                assert seal is not None
                await seals.unseal(seal)
            await seals.flush()
            assert seals.degraded == "" or _FULL in seals.degraded
            assert seals.index is not None

    with _store(small / "store") as (_, seals):
        trio.run(main, seals)
    for _ in range(2):
        with _store(small / "store") as (_, seals):
            assert _in_index(seals) == [ino for ino in range(100, 1_000) if ino not in broken]
            assert seals.get(broken[0]) is None
            (small / "filler").unlink(missing_ok=True)
    with _store(small / "store") as (_, seals):
        assert len(seals.ledger.marks) == 0


@pytest.mark.root
def test_h17_a_mark_that_cannot_be_written_costs_the_index(small: Path) -> None:
    """The overwrite goes on, so nothing may be left that would vouch for the bytes of before."""

    async def main(seals: Seals) -> None:
        async with _running(seals):
            for ino in range(1, 2_000):
                seals.put(seal_of(b"a", ino))
            await seals.flush()
            _fill(small)
            for ino in range(1, 2_000):
                if (seal := seals.get(ino)) is None:
                    break
                await seals.unseal(seal)
            assert seals.index is None
            assert _FULL in seals.degraded

    with _store(small / "store") as (store, seals):
        trio.run(main, seals)
        assert not store.index_file.exists()


@pytest.mark.root
def test_memory_for_what_waits_is_bounded(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it the oldest seals are given up; that a file has none any more is kept, and so is the index."""
    monkeypatch.setattr(seals_module, "_HELD_BYTES", 100_000)
    monkeypatch.setattr(seals_module, "_REMEMBERED_BYTES", 1)

    async def main(seals: Seals) -> None:
        async with _running(seals):
            seals.put(seal_of(b"a", 1))
            await seals.flush()
            filler = _fill(small)
            seals.forget(1)
            for ino in range(10, 3_000):
                seals.put(seal_of(b"b", ino))
            await seals.flush()
            assert seals.get(1) is None
            assert seals.get(10) is None
            assert seals.get(2_999) is not None
            filler.unlink()
            await _until(lambda: not seals.degraded)
            assert 0 < len(_in_index(seals)) < 400
            assert 2_999 in _in_index(seals)

    with _store(small / "store") as (_, seals):
        trio.run(main, seals)


def test_h17_marks_are_forgotten_while_mounted_once_the_index_lacks_the_seals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seals_module, "_FORGET_S", 0.2)

    async def main(seals: Seals) -> None:
        async with _running(seals):
            for ino in range(1, 9):
                seals.put(seal_of(b"a", ino))
            await seals.flush()
            for ino in range(1, 8):
                seal = seals.get(ino)
                assert seal is not None
                await seals.unseal(seal)
            assert len(seals.ledger.marks) == 7
            seals.put(seal_of(b"b", 1, seal_id=99))
            await _until(lambda: not seals.ledger.marks.all())
            assert _in_index(seals) == [1, 8]
            found = seals.get(1)
            assert found is not None
            assert found.seal_id == 99

    with _store(tmp_path / "store") as (_, seals):
        trio.run(main, seals)


def test_h17_two_seals_of_one_file_lapse_before_either_is_marked(tmp_path: Path) -> None:
    async def main(seals: Seals) -> None:
        for seal_id in (11, 12):
            seals.put(seal_of(b"a", 1, seal_id=seal_id))
            seals.lapse(1)
        async with _running(seals):
            with trio.fail_after(20):
                await seals.wait_until_marked(1)
            assert sorted(seals.ledger.marks.all()) == [(1, 11), (1, 12)]

    with _store(tmp_path / "store") as (_, seals):
        trio.run(main, seals)


def test_h17_a_file_that_two_had_sealed_has_one_seal_and_no_mark(tmp_path: Path) -> None:
    """A walk and the end of a write may each ask for a file's seal. Nothing changed, so no seal is marked as broken; a
    mark of what is broken later means both, for an earlier index may have the first."""

    async def main(seals: Seals) -> None:
        async with _running(seals):
            first = seals.put(seal_of(b"a", 1, seal_id=11, settled=True))
            await seals.flush()
            again = seals.put(seal_of(b"a", 1, seal_id=12, sha256=b"", leased=False))
            assert again == first
            changed = seals.put(seal_of(b"b", 2, seal_id=13))
            seals.put(seal_of(b"b", 2, seal_id=14, mtime_ns=1))
            await seals.flush()
            assert seals.ledger.marks.all() == [(2, 13)]
            await seals.unseal(again)
            assert sorted(seals.ledger.marks.all()) == [(1, 11), (2, changed.seal_id)]

    with _store(tmp_path / "store") as (_, seals):
        trio.run(main, seals)
