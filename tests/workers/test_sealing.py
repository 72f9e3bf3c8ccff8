"""What the sealer makes of files: right seals of files at rest, and no seal of anything else."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from ipfsfs.identity import Identity
from ipfsfs.plain import syscalls
from ipfsfs.plain.identities import identity_of
from ipfsfs.workers.sealer import jobs
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.hashing import new_buffer
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Sealed, Secret
from tests.support.filesystems import mounted_tmpfs
from tests.support.sealers import rest, slow, with_sealer, write
from tests.support.seals import drive, packed, seal_of

_DATA = random.Random(1).randbytes(3_500_000)
_BIG = 768 << 20


def _identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def _seal(root: Path, path: bytes, ino: int | None = None, *, whole: bool = False) -> object:
    return with_sealer(root, lambda sealer: sealer.seal(path, ino, whole=whole))


def test_a_file_at_rest_is_sealed_as_what_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "f\xff", _DATA)
    leaves, sums = packed(_DATA)
    sealed = _seal(tmp_path, os.fsencode(file.name), file.stat().st_ino)
    assert sealed == Sealed(_identity(file), seal_of(_DATA).root, leaves, sums, b"", True)


@pytest.mark.parametrize("size", [0, 1, 70_000, 1 << 20])
def test_small_files_come_with_the_digest_of_the_whole(tmp_path: Path, size: int) -> None:
    write(tmp_path / "file", _DATA[:size])
    sealed = _seal(tmp_path, b"file")
    assert isinstance(sealed, Sealed)
    assert (sealed.root, sealed.sha256) == (seal_of(_DATA[:size]).root, hashlib.sha256(_DATA[:size]).digest())


def test_others_do_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "file", _DATA)
    sealed = _seal(tmp_path, b"file", whole=True)
    assert isinstance(sealed, Sealed)
    assert sealed.sha256 == hashlib.sha256(_DATA).digest()


def test_what_was_only_just_written_waits(tmp_path: Path) -> None:
    async def use(sealer: Sealer) -> object:
        await sealer.seal(b"warming up")
        (tmp_path / "file").write_bytes(b"x")
        return await sealer.seal(b"file")

    assert isinstance(with_sealer(tmp_path, use), Busy)


def test_h16_a_file_that_somebody_can_write_to_is_not_sealed(tmp_path: Path) -> None:
    file = write(tmp_path / "file", _DATA)
    (tmp_path / "link").hardlink_to(file)
    with file.open("r+b") as writer:
        rest()
        assert isinstance(_seal(tmp_path, b"file"), Busy)
        assert isinstance(_seal(tmp_path, b"link"), Busy)
        mapping = mmap.mmap(writer.fileno(), 0)
    rest()
    assert isinstance(_seal(tmp_path, b"file"), Busy), "a shared mapping outlives its descriptor"
    mapping.close()
    rest()
    assert isinstance(_seal(tmp_path, b"file"), Sealed)


def test_h16_a_file_on_which_somebody_holds_a_lease_is_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "file", _DATA)
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with file.open("r+b") as holder:
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert isinstance(_seal(tmp_path, b"file"), Busy)
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)


def test_h16_such_a_file_is_not_even_read(tmp_path: Path) -> None:
    file = write(tmp_path / "file", _DATA)

    async def use(sealer: Sealer) -> int:
        with file.open("r+b"):
            assert isinstance(await sealer.seal(b"file"), Busy)
        return sealer.reading.hashed

    assert with_sealer(tmp_path, use) == 0


@pytest.mark.root
def test_h16_without_a_lease_the_seal_says_that_it_may_be_wrong(tmp_path: Path) -> None:
    """Another user's file, without CAP_LEASE: it is read, and nobody can say who else writes to it."""
    file = write(tmp_path / "file", _DATA)
    tmp_path.chmod(0o755)
    file.chmod(0o644)
    rest()
    buffer = new_buffer()
    root_fd = os.open(tmp_path, os.O_PATH)
    os.setresuid(-1, 65_534, -1)
    try:
        sealed = drive(jobs.seal(jobs.Root.at(root_fd), b"file", None, "fixed", buffer, whole=False))
    finally:
        os.setresuid(-1, 0, -1)
        os.close(root_fd)
    assert isinstance(sealed, Sealed)
    assert (sealed.root, sealed.leased) == (seal_of(_DATA).root, False)


async def _being_read(sealer: Sealer, path: bytes) -> None:
    while sealer.reading.path != path:  # noqa: ASYNC110  the process knows no events of ours
        await trio.sleep(0.01)


@pytest.mark.parametrize("how", ["written", "cut", "written through a mapping", "times set back"])
def test_a_file_written_while_it_is_hashed_is_not_sealed(tmp_path: Path, how: str) -> None:
    file = slow(tmp_path / "big", _BIG)
    before = file.stat()

    async def use(sealer: Sealer) -> object:
        outcomes: list[object] = []

        async def seal() -> None:
            outcomes.append(await sealer.seal(b"big", urgency=Urgency.NOW))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(seal)
            await _being_read(sealer, b"big")
            with file.open("r+b") as writer:
                if how == "cut":
                    writer.truncate(_BIG // 2)
                elif how == "written through a mapping":
                    with mmap.mmap(writer.fileno(), mmap.PAGESIZE) as mapping:
                        mapping[0] = 1
                else:
                    writer.write(b"x")
            if how == "times set back":
                os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert outcomes == []
        return outcomes[0]

    assert with_sealer(tmp_path, use) == Changed()


def test_a_file_opened_for_writing_while_it_is_hashed_is_not_sealed(tmp_path: Path) -> None:
    file = slow(tmp_path / "big", _BIG)

    async def use(sealer: Sealer) -> object:
        outcomes: list[object] = []

        async def seal() -> None:
            outcomes.append(await sealer.seal(b"big", urgency=Urgency.NOW))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(seal)
            await _being_read(sealer, b"big")
            fd = os.open(file, os.O_WRONLY)
        os.close(fd)
        return outcomes[0]

    assert isinstance(with_sealer(tmp_path, use), Busy)


def test_what_is_no_file_of_that_name_and_inode_is_gone(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", b"not below the root")
    root = tmp_path / "root"
    (root / "directory").mkdir(parents=True)
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("file")
    (root / "way out").symlink_to("..")
    file = write(root / "file", b"content")

    async def use(sealer: Sealer) -> Sequence[object]:
        names = [b"missing", b"directory", b"fifo", b"link", b"file/below", b"way out/outside"]
        return [await sealer.seal(name) for name in names] + [await sealer.seal(b"file", file.stat().st_ino + 1)]

    assert with_sealer(root, use) == [Gone()] * 7
    for escape in (b"../outside", os.fsencode(outside)):
        assert isinstance(_seal(root, escape), Failed | Gone)


@pytest.mark.root
def test_a_file_on_another_filesystem_is_not_sealed(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "size=1m") as other:
        write(other / "file", b"content")
        outcome = _seal(tmp_path, b"tmpfs/file")
    assert isinstance(outcome, Failed)
    assert "another filesystem" in outcome.message


@pytest.mark.parametrize("size", [0, 60_000])
def test_h36_a_secret_under_another_name_is_not_hashed(tmp_path: Path, size: int) -> None:
    canary = b"hf_" + b"CaNaRy" * 6
    write(tmp_path / "notes.txt", b"x " * (size // 2) + canary)
    assert _seal(tmp_path, b"notes.txt") == Secret(_identity(tmp_path / "notes.txt"))


def test_h21_sealing_and_verifying_leave_access_times_alone(tmp_path: Path) -> None:
    for name in ("sealed", "read"):
        (tmp_path / name).write_bytes(_DATA)
        os.utime(tmp_path / name, ns=(1_000_000_000, 2_000_000_000))
    rest()

    async def use(sealer: Sealer) -> None:
        sealed = await sealer.seal(b"sealed")
        assert isinstance(sealed, Sealed)
        await sealer.verify(b"sealed", sealed.identity, sums=sealed.sums, leaves=sealed.leaves)
        await sealer.digest(b"sealed", sealed.identity.ino)
        assert await sealer.settle(b"sealed", sealed.identity)

    with_sealer(tmp_path, use)
    (tmp_path / "read").read_bytes()
    if (tmp_path / "read").stat().st_atime_ns == 1_000_000_000:
        pytest.skip("this filesystem keeps no access times")
    assert (tmp_path / "sealed").stat().st_atime_ns == 1_000_000_000


@contextmanager
def _pages(path: Path) -> Iterator[list[int]]:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        counts = [syscalls.resident_pages(fd, 0, len(_DATA)).count(1)]
        yield counts
        counts.append(syscalls.resident_pages(fd, 0, len(_DATA)).count(1))
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [len(_DATA), 5_000])
def test_what_nobody_had_in_the_page_cache_leaves_it_again(tmp_path: Path, size: int) -> None:
    file = write(tmp_path / "cold", _DATA[:size])
    with _pages(file) as counts:
        if counts[0]:
            pytest.skip("this filesystem keeps all pages in memory")
        assert isinstance(_seal(tmp_path, b"cold"), Sealed)
    assert counts[1] == 0


def test_what_somebody_has_in_the_page_cache_stays(tmp_path: Path) -> None:
    file = write(tmp_path / "warm", _DATA)
    with _pages(file) as counts:
        file.read_bytes()
        assert isinstance(_seal(tmp_path, b"warm"), Sealed)
    assert counts[1] == -(-len(_DATA) // mmap.PAGESIZE)


def test_settling_is_only_for_the_file_that_was_sealed(tmp_path: Path) -> None:
    file = write(tmp_path / "file", _DATA)

    async def use(sealer: Sealer) -> list[bool]:
        identity = _identity(file)
        results = [await sealer.settle(b"file", identity), await sealer.settle(b"missing", identity)]
        os.utime(file)
        return [*results, await sealer.settle(b"file", identity)]

    assert with_sealer(tmp_path, use) == [True, False, False]
