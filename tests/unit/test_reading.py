"""Reads that must not wait."""

from __future__ import annotations

import os
import random
import resource
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest
import trio

from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.layout import Store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seals import Seals
from ipfsfs.view.backing import Caller
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.resident.content import ResidentContent, Serving
from ipfsfs.view.resident.reading import Reader
from ipfsfs.view.streams import Streams, _Stream
from ipfsfs.view.upkeep.upkeep import Upkeep
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_ext4_image
from tests.support.nodes import node_table
from tests.support.stores import file_in


@pytest.mark.root
def test_h09_a_filesystem_that_knows_no_nowait_takes_it_from_no_other(tmp_path: Path) -> None:
    """A tmpfs mounted somewhere below the directory: cold reads of all other files still go to a thread."""
    with (
        mounted_tmpfs(tmp_path, "size=1m") as memory,
        mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as disk,
        file_in(tmp_path, "ledger") as ledger_file,
    ):
        plain, ledger = PlainDirectory.open(disk), Ledger.open(ledger_file)
        nodes = node_table(plain)
        reader = _reader(plain, ledger)
        files = {path.parent.name: _opened(nodes, path) for path in (memory / "file", disk / "file")}

        def read(name: str) -> bytes | None:
            found = reader.read_nowait(files[name], files[name].fd, 0, 4096)
            return bytes(found) if found is not None else None

        try:
            assert read("tmpfs") == b"content"
            os.posix_fadvise(files["disk"].fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert read("disk") is None
            os.pread(files["disk"].fd, 4096, 0)
            assert read("disk") == b"content"
        finally:
            for file in files.values():
                os.close(file.fd)
            ledger.close()
            plain.close()


def test_h14_a_read_does_without_reading_ahead_where_no_descriptor_is_left(tmp_path: Path) -> None:
    """Asking the disk takes a descriptor: without one the READ is answered all the same, as often as it comes."""
    store = Store.open(tmp_path / "store")
    plain, ledger = PlainDirectory.open(tmp_path), Ledger.open(store.ledger_file)
    reader = _reader(plain, ledger)
    file = _opened(node_table(plain), tmp_path / "file")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(file.fd))
        for _ in range(100):
            file.streams = Streams([_Stream(0, asked=4096)])
            found = reader.read_nowait(file, file.fd, 0, 4096)
            assert found is not None
            assert bytes(found) == b"content"
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(file.fd)
        ledger.close()
        store.close()
        plain.close()
    assert reader._asking.acquire(blocking=False), "no permit was lost"


def test_h19_a_read_of_more_than_there_is_room_for_is_never_cut_short(tmp_path: Path) -> None:
    """Kernels with pages of 64 KiB ask for up to 16 MiB: what is short means to them that the file ends there."""
    store = Store.open(tmp_path / "store")
    plain, ledger = PlainDirectory.open(tmp_path), Ledger.open(store.ledger_file)
    reader = _reader(plain, ledger)
    file = _opened(node_table(plain), tmp_path / "file")
    whole = random.Random(19).randbytes(16 << 20)
    (tmp_path / "file").write_bytes(whole)
    content = ResidentContent(file, file.fd, False, cast(Caller, None), cast(Serving, None))
    try:
        for size in (1 << 20, (1 << 20) + 4096, 16 << 20):
            found = reader.read_nowait(file, file.fd, 0, size)
            assert found is None or bytes(found) == whole[:size]
            assert (content.job(0, size) is not None) == (size == 1 << 20)
            assert trio.run(reader.read, file, file.fd, 0, size) == whole[:size]
    finally:
        os.close(file.fd)
        ledger.close()
        store.close()
        plain.close()


def _reader(plain: PlainDirectory, ledger: Ledger) -> Reader:
    """A reader of files that are not sealed, so that it has nothing to tell of them."""
    return Reader(Seals(plain.dev, None, ledger), cast(Upkeep, None), "")


def _opened(nodes: NodeTable, path: Path) -> OpenFile:
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    return OpenFile(nodes.root, fd)
