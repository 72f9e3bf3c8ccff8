"""Reading files again: what is wrong on the disk is found, to the unit."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from ipfsfs.identity import Identity
from ipfsfs.plain.identities import identity_of
from ipfsfs.store.seal import UNIT
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Gone, Sealed, Verified
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_ext4_image
from tests.support.rot import spoilable_disk
from tests.support.sealers import rest, slow, with_sealer, write
from tests.support.seals import packed

_DATA = random.Random(3).randbytes(3_300_001)
_SOUND = Verified((), (), None, True)


async def _sealed(sealer: Sealer, name: bytes = b"file") -> Sealed:
    sealed = await sealer.seal(name)
    assert isinstance(sealed, Sealed)
    return sealed


async def _verify(sealer: Sealer, sealed: Sealed, sha256: bytes = b"") -> object:
    return await sealer.verify(b"file", sealed.identity, sums=sealed.sums, leaves=sealed.leaves, sha256=sha256)


@pytest.mark.parametrize("size", [0, 1, 4_096, UNIT, len(_DATA)])
def test_a_sound_file_is_sound_and_keeps_its_promise(tmp_path: Path, size: int) -> None:
    write(tmp_path / "file", _DATA[:size])

    async def use(sealer: Sealer) -> list[object]:
        sealed = await _sealed(sealer)
        right = hashlib.sha256(_DATA[:size]).digest()
        return [await _verify(sealer, sealed, sha256) for sha256 in (b"", right, bytes(32))]

    assert with_sealer(tmp_path, use) == [
        _SOUND,
        replace(_SOUND, kept_promise=True),
        replace(_SOUND, kept_promise=False),
    ]


def test_what_somebody_wrote_is_told_from_rot(tmp_path: Path) -> None:
    file = write(tmp_path / "file", _DATA)

    async def use(sealer: Sealer) -> list[object]:
        sealed = await _sealed(sealer)
        with file.open("r+b") as writer:
            writer.write(b"X")
        written = await _verify(sealer, sealed)
        os.truncate(file, 5)
        cut = await _verify(sealer, sealed)
        file.unlink()
        return [written, cut, await _verify(sealer, sealed)]

    written, cut, gone = with_sealer(tmp_path, use)
    assert written == Verified((0,), (0,), None, False)
    assert isinstance(cut, Verified)
    assert not cut.unchanged
    assert gone == Gone()


@pytest.mark.root
def test_rot_beneath_the_filesystem_is_found_although_the_page_cache_is_right(tmp_path: Path) -> None:
    image = new_ext4_image(tmp_path / "image")
    with mounted_image(image, tmp_path / "mounted") as mounted:
        write(mounted / "file", _DATA)

        async def use(sealer: Sealer) -> list[object]:
            sealed = await _sealed(sealer)
            assert await sealer.settle(b"file", sealed.identity)
            before = await _verify(sealer, sealed)
            spoil(image, _DATA[2 * UNIT + 5_000 : 2 * UNIT + 5_064])
            assert (mounted / "file").read_bytes() == _DATA
            return [before, await _verify(sealer, sealed, hashlib.sha256(_DATA).digest())]

        assert with_sealer(mounted, use) == [_SOUND, Verified((2 * UNIT,), (0,), False, True)]


def spoil(image: Path, content: bytes) -> None:
    """Change a byte in the middle of what is somewhere on a disk."""
    data = image.read_bytes()
    assert data.count(content) == 1
    with image.open("r+b") as file:
        file.seek(data.index(content) + len(content) // 2)
        file.write(bytes([content[len(content) // 2] ^ 1]))


@pytest.mark.parametrize("size", [0, UNIT, len(_DATA), 5 << 20])
def test_checksums_alone_are_compared_where_no_leaves_are_given(tmp_path: Path, size: int) -> None:
    """Of holes as well: the last of these sizes has some."""
    file = tmp_path / "file"
    file.write_bytes(_DATA[:size])
    os.truncate(file, size)
    rest()

    async def use(sealer: Sealer) -> list[object]:
        sealed = await _sealed(sealer)
        others = sealed.sums[:-1] + bytes([sealed.sums[-1] ^ 1]) if sealed.sums else b""
        verify, identity = sealer.verify, sealed.identity
        return [await verify(b"file", identity, sums=sums, leaves=None) for sums in (sealed.sums, others)]

    sound, other = with_sealer(tmp_path, use)
    assert sound == _SOUND
    assert other == replace(_SOUND, bad_units=((size - 1) // UNIT * UNIT,) if size else ())


@pytest.mark.root
def test_where_the_page_cache_cannot_be_passed_by_it_still_works(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=16m") as mounted:
        write(mounted / "file", _DATA)

        async def use(sealer: Sealer) -> object:
            return await _verify(sealer, await _sealed(sealer))

        assert with_sealer(mounted, use) == _SOUND


@pytest.mark.root
def test_where_the_filesystem_only_seems_to_pass_by_the_page_cache_the_disk_is_read(tmp_path: Path) -> None:
    """As ext4 does with a journal of data: it takes O_DIRECT, and reads from the page cache."""
    with spoilable_disk(tmp_path, options=("data=journal",)) as disk:
        write(disk.cache / "file", _DATA)

        async def use(sealer: Sealer) -> object:
            sealed = await _sealed(sealer)
            disk.rot_beneath("file", 7 * UNIT)
            return await sealer.verify(b"file", sealed.identity, sums=sealed.sums, leaves=None)

        assert with_sealer(disk.cache, use) == replace(_SOUND, bad_units=(7 * UNIT,))


def test_progress_is_told(tmp_path: Path) -> None:
    slow(tmp_path / "file", 512 << 20)
    told: list[int] = []

    async def use(sealer: Sealer) -> object:
        identity = _identity(tmp_path / "file")
        leaves, sums = packed(b"x".ljust(1 << 20, b"\0"))
        return await sealer.verify(b"file", identity, sums=sums * 512, leaves=leaves * 512, progress=told.append)

    assert with_sealer(tmp_path, use) == _SOUND
    assert told == sorted(told)
    assert told
    assert 0 < told[0] < 512 << 20


def _identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)
