"""Imports of CARs that come from anywhere: all of it is taken, or an error says why and nothing is left."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ipfsfs.errors import FormatError, NotHeld, StoreError
from ipfsfs.exchange.here import Here, Residents, Sealed
from ipfsfs.exchange.importing import Import
from ipfsfs.exchange.kept_blocks import KeptBlocks
from ipfsfs.store.blocks import Blocks
from ipfsfs.store.extents import Extents
from ipfsfs.store.kept import Kept
from ipfsfs.unixfs import directory
from ipfsfs.unixfs.cid import from_text, to_text
from tests.support.cars import blocks_of, car_with

CONTENT = bytes(range(256)) * 40
FILE, BLOCKS_OF_FILE = blocks_of(CONTENT, size=1000)
NAMED = [directory.Entry(b"file", from_text(FILE), 12_000), directory.Entry(b"same", from_text(FILE), 1)]
TREE = directory.build(NAMED)
WHOLE = car_with(TREE.cid, [*TREE.nodes, *BLOCKS_OF_FILE])


@dataclass(slots=True, frozen=True)
class NoFiles:
    """A view without files."""

    def find(self, roots: Sequence[bytes]) -> list[Sealed]:
        """As `Residents`."""
        del roots
        return []


def take(store: Path, car: bytes) -> set[str]:
    """Import a CAR; returns the names of the blocks that are there then. Raises as `Import.run`."""
    return take_from(store, io.BytesIO(car), NoFiles())


def take_from(store: Path, car: BinaryIO, residents: Residents) -> set[str]:
    """The same, of a CAR in a file, for a view with these files."""
    extents = store / "extents"
    extents.mkdir(exist_ok=True)
    fd = os.open(extents, os.O_RDONLY)
    try:
        with Blocks.of(store) as blocks, Kept.of(store) as kept:
            here = Here(blocks, Extents(fd), residents, KeptBlocks(kept))
            trio.run(Import(blocks, here, lambda _: None).run, car)
    finally:
        os.close(fd)
    return set(os.listdir(store / "blocks"))


def test_a_whole_car_is_taken_and_taking_it_again_changes_nothing(tmp_path: Path) -> None:
    assert len(take(tmp_path, WHOLE)) == len(BLOCKS_OF_FILE) + len(TREE.nodes)
    before = {path.name: path.stat() for path in (tmp_path / "blocks").iterdir()}
    take(tmp_path, WHOLE)
    assert {path.name: path.stat() for path in (tmp_path / "blocks").iterdir()} == before


def test_an_import_that_was_killed_goes_on_with_what_it_left(tmp_path: Path) -> None:
    take(tmp_path, car_with(from_text(FILE), BLOCKS_OF_FILE))
    (tmp_path / "blocks" / "0123456789abcdef.new").write_bytes(b"half a block")
    with Blocks.of(tmp_path) as blocks:
        blocks.remove(next(stored.name for stored in blocks.each() if stored.cid == BLOCKS_OF_FILE[3][0]))
    assert len(take(tmp_path, WHOLE)) == len(BLOCKS_OF_FILE) + len(TREE.nodes) + 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_h37_a_car_that_is_damaged_anywhere_is_taken_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(WHOLE) - 1))
    damaged = data.draw(
        st.one_of(
            st.just(WHOLE[:at]),
            st.binary(max_size=20).map(lambda other: WHOLE[:at] + other + WHOLE[at + len(other) :]),
            st.integers(1, 2000).map(lambda count: WHOLE[:at] + WHOLE[at + count :]),
            st.binary(max_size=300),
        )
    )
    store = tmp_path_factory.mktemp("store")
    try:
        left = take(store, damaged)
    except (FormatError, NotHeld):
        assert os.listdir(store / "blocks") == []
    else:
        assert len(left) == len(BLOCKS_OF_FILE) + len(TREE.nodes)


class _FailingResidents(NoFiles):
    """A view whose daemon does not answer."""

    def find(self, roots: Sequence[bytes]) -> list[Sealed]:
        raise StoreError("the daemon does not answer")


class _FailingFile(io.BytesIO):
    """A CAR on a disk that cannot read the end of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(500)
        if not data:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data


@pytest.mark.parametrize("fails", ["the daemon", "the disk"])
def test_an_import_that_fails_leaves_nothing(fails: str, tmp_path: Path) -> None:
    residents = _FailingResidents() if fails == "the daemon" else NoFiles()
    car = io.BytesIO(WHOLE) if fails == "the daemon" else _FailingFile(WHOLE)
    with pytest.raises((StoreError, OSError)):
        take_from(tmp_path, car, residents)
    assert os.listdir(tmp_path / "blocks") == []


def test_h37_a_car_that_lacks_any_one_block_is_refused_and_the_block_named(tmp_path: Path) -> None:
    blocks = [*TREE.nodes, *BLOCKS_OF_FILE]
    for lacking in blocks:
        with pytest.raises(NotHeld, match=to_text(lacking[0])):
            take(tmp_path, car_with(TREE.cid, [one for one in blocks if one != lacking]))
        assert os.listdir(tmp_path / "blocks") == []
