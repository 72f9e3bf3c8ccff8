"""Reads that must not wait."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ipfsfs.hubcache.classify import Place
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.ledger import Ledger
from ipfsfs.view.handles import Handle, OpenFile
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.reading import Reader
from ipfsfs.view.seals import Seals
from tests.support.filesystems import mounted_image, mounted_tmpfs, new_ext4_image


def never(*_: Any) -> None:
    raise AssertionError("nothing is sealed here")


@pytest.mark.root
def test_h09_a_filesystem_that_knows_no_nowait_takes_it_from_no_other(tmp_path: Path) -> None:
    """A tmpfs mounted somewhere below the directory: cold reads of all other files still go to a thread."""
    with (
        mounted_tmpfs(tmp_path, "size=1m") as memory,
        mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as disk,
    ):
        plain, ledger = PlainDirectory.open(disk), Ledger.open(tmp_path / "ledger")
        nodes = NodeTable(plain, Place.OTHER)
        reader = Reader(nodes, Seals(plain.dev, None, ledger), "", never, never)
        handles = {path.parent.name: _opened(nodes, path) for path in (memory / "file", disk / "file")}
        try:
            assert bytes(reader.now(handles["tmpfs"], 0, 4096) or b"") == b"content"
            os.posix_fadvise(handles["disk"].fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert reader.now(handles["disk"], 0, 4096) is None
            os.pread(handles["disk"].fd, 4096, 0)
            assert bytes(reader.now(handles["disk"], 0, 4096) or b"") == b"content"
        finally:
            for handle in handles.values():
                os.close(handle.fd)
            ledger.close()
            plain.close()


def _opened(nodes: NodeTable, path: Path) -> Handle:
    path.write_bytes(b"content")
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    return Handle(OpenFile(nodes.root, fd), fd, False, os.getpid(), os.getuid(), os.getgid())
