"""Promised downloads: the digest is right, whatever was hashed before and however it was written (H25)."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest
import trio

from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.following import FOLLOWED_MAX, RESTARTS_MAX
from ipfsfs.workers.sealer.outcome import Changed, Digest, Gone, Sealed
from tests.support.sealers import rest, slow, with_sealer, write

_MIB = 1 << 20
_DATA = random.Random(2).randbytes(24 * _MIB)
_DIGEST = hashlib.sha256(_DATA).digest()


async def _followed(sealer: Sealer, size: int) -> None:
    with trio.fail_after(20):
        while sealer.reading.hashed < size:  # noqa: ASYNC110  the process knows no events of ours
            await trio.sleep(0.01)


def test_h25_what_was_followed_is_not_read_again(tmp_path: Path) -> None:
    file = tmp_path / "blob.incomplete"

    async def use(sealer: Sealer) -> object:
        with file.open("wb", buffering=0) as writer:
            ino = os.fstat(writer.fileno()).st_ino
            for at in range(0, len(_DATA) - _MIB, _MIB):
                writer.write(_DATA[at : at + _MIB])
                sealer.follow(ino, b"blob.incomplete", at + _MIB)
            await _followed(sealer, 20 * _MIB)
            writer.write(_DATA[-_MIB:])
            return await sealer.digest(b"blob.incomplete", ino, _DIGEST)

    digest = with_sealer(tmp_path, use)
    assert isinstance(digest, Digest)
    assert (digest.sha256, digest.identity.size) == (_DIGEST, len(_DATA))
    assert digest.followed >= 20 * _MIB


def test_a_prefix_that_was_written_again_is_hashed_again(tmp_path: Path) -> None:
    file = write(tmp_path / "blob", b"\0" * _MIB + _DATA[_MIB:])
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> list[object]:
        found: list[object] = []
        for byte in range(RESTARTS_MAX + 3):
            sealer.follow(ino, b"blob", len(_DATA))
            await trio.sleep(0.03)
            with file.open("r+b") as writer:
                writer.write(bytes([byte]))
            sealer.restart(ino)
            sealer.follow(ino, b"blob", len(_DATA))
            found.append(await sealer.digest(b"blob", ino))
        return found

    for byte, digest in enumerate(with_sealer(tmp_path, use)):
        assert isinstance(digest, Digest)
        right = bytes([byte]) + bytes(_MIB - 1) + _DATA[_MIB:]
        assert digest.sha256 == hashlib.sha256(right).digest()


def test_a_restart_right_before_a_digest_is_not_overtaken(tmp_path: Path) -> None:
    file = write(tmp_path / "blob", _DATA)
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> object:
        sealer.follow(ino, b"blob", len(_DATA))
        await _followed(sealer, len(_DATA) - _MIB)
        with file.open("r+b") as writer:
            writer.write(b"XYZ")
        sealer.restart(ino)
        return await sealer.digest(b"blob", ino)

    digest = with_sealer(tmp_path, use)
    assert isinstance(digest, Digest)
    assert digest.sha256 == hashlib.sha256(b"XYZ" + _DATA[3:]).digest()


def test_a_good_file_is_not_condemned_for_what_it_once_held(tmp_path: Path) -> None:
    """Written again by somebody who goes past the view: nobody calls `restart`."""
    file = write(tmp_path / "blob", bytes(len(_DATA)))
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> object:
        sealer.follow(ino, b"blob", len(_DATA))
        await _followed(sealer, len(_DATA) - _MIB)
        with file.open("r+b") as writer:
            writer.write(_DATA)
        return await sealer.digest(b"blob", ino, _DIGEST)

    digest = with_sealer(tmp_path, use)
    assert isinstance(digest, Digest)
    assert digest.sha256 == _DIGEST


def test_a_file_that_was_cut_below_what_was_hashed(tmp_path: Path) -> None:
    file = write(tmp_path / "blob", _DATA)
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> list[object]:
        sealer.follow(ino, b"blob", len(_DATA))
        await _followed(sealer, len(_DATA) - _MIB)
        os.truncate(file, 5)
        return [await sealer.digest(b"blob", ino), await sealer.digest(b"blob", ino)]

    first, second = with_sealer(tmp_path, use)
    assert first == Changed()
    assert isinstance(second, Digest)
    assert second.sha256 == hashlib.sha256(_DATA[:5]).digest()


def test_a_renamed_or_deleted_download_is_still_the_same(tmp_path: Path) -> None:
    file = write(tmp_path / "blob.incomplete", _DATA)
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> object:
        sealer.follow(ino, b"blob.incomplete", _MIB)
        await _followed(sealer, _MIB)
        file.rename(tmp_path / "blob")
        return await sealer.digest(b"blob", ino)

    digest = with_sealer(tmp_path, use)
    assert isinstance(digest, Digest)
    assert (digest.sha256, digest.followed) == (_DIGEST, _MIB)


def test_a_digest_that_was_given_up_goes_on_where_it_was(tmp_path: Path) -> None:
    file = slow(tmp_path / "big", 600 * _MIB)
    ino = file.stat().st_ino

    async def use(sealer: Sealer) -> object:
        await sealer.digest(b"missing", 1)
        with trio.move_on_after(0.15) as gave_up:
            await sealer.digest(b"big", ino)
        assert gave_up.cancelled_caught
        return await sealer.digest(b"big", ino)

    digest = with_sealer(tmp_path, use)
    assert isinstance(digest, Digest)
    assert digest.followed > 0


def test_a_digest_does_not_wait_for_background_work(tmp_path: Path) -> None:
    slow(tmp_path / "big", 1_000 * _MIB)
    file = write(tmp_path / "small", b"small")

    async def use(sealer: Sealer) -> tuple[float, float]:
        took: list[float] = []
        began = trio.current_time()

        async def seal() -> None:
            await sealer.seal(b"big", urgency=Urgency.IDLE)
            took.append(trio.current_time() - began)

        await sealer.digest(b"small", file.stat().st_ino)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seal)
            await trio.sleep(0.2)
            asked = trio.current_time()
            await sealer.digest(b"small", file.stat().st_ino)
            waited = trio.current_time() - asked
        return waited, took[0]

    waited, whole = with_sealer(tmp_path, use)
    assert waited < whole / 5


def test_a_fresh_seal_goes_before_what_was_there(tmp_path: Path) -> None:
    slow(tmp_path / "big", 600 * _MIB)
    write(tmp_path / "small", b"small")

    async def use(sealer: Sealer) -> list[str]:
        done: list[str] = []

        async def seal(name: str, urgency: Urgency) -> None:
            assert isinstance(await sealer.seal(name.encode(), urgency=urgency), Sealed)
            done.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(seal, "big", Urgency.IDLE)
            await trio.sleep(0.2)
            nursery.start_soon(seal, "small", Urgency.SOON)
        return done

    assert with_sealer(tmp_path, use) == ["small", "big"]


def test_however_many_are_followed_descriptors_stay_few(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3 * FOLLOWED_MAX)]
    for file in files:
        file.write_bytes(file.name.encode())
    rest()

    async def use(sealer: Sealer) -> int:
        inos = {file.name: file.stat().st_ino for file in files}
        for name, ino in inos.items():
            sealer.follow(ino, name.encode(), 1)
            await sealer.digest(b"missing", 1)
        for name, ino in inos.items():
            digest = await sealer.digest(name.encode(), ino)
            assert isinstance(digest, Digest)
            assert digest.sha256 == hashlib.sha256(name.encode()).digest()
        most = _descriptors(sealer)
        for ino in inos.values():
            sealer.unfollow(ino)
        assert await sealer.digest(b"missing", 1) == Gone()
        assert _descriptors(sealer) <= most - 16
        return most

    assert with_sealer(tmp_path, use) < FOLLOWED_MAX + 16


def test_digests_of_files_nobody_follows_leave_nothing_open(tmp_path: Path) -> None:
    files = [write(tmp_path / str(number), b"x") for number in range(5)]

    async def use(sealer: Sealer) -> tuple[int, int]:
        await sealer.digest(b"missing", 1)
        before = _descriptors(sealer)
        for file in files:
            await sealer.digest(file.name.encode(), file.stat().st_ino)
        return before, _descriptors(sealer)

    before, after = with_sealer(tmp_path, use)
    assert before == after


def _descriptors(sealer: Sealer) -> int:
    (pid,) = sealer.pids
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize("path", [b"missing", b"other"])
def test_what_is_no_file_of_that_inode_has_no_digest(tmp_path: Path, path: bytes) -> None:
    file = write(tmp_path / "other", b"x")
    assert with_sealer(tmp_path, lambda sealer: sealer.digest(path, file.stat().st_ino + 1)) == Gone()
