"""Files that are open, while threads read them."""

from __future__ import annotations

import os
from pathlib import Path

from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.view.open_files import OpenFile
from tests.support.nodes import node_table


def _is_open(fd: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def test_a_descriptor_stays_open_for_the_reads_that_use_it(tmp_path: Path) -> None:
    plain = PlainDirectory.open(tmp_path)
    file = OpenFile(node_table(plain).root)
    (tmp_path / "file").write_bytes(b"content")
    reader, writer = (os.open(tmp_path / "file", flags) for flags in (os.O_RDONLY, os.O_RDWR))
    assert file.add_reader(reader) == reader
    file.add_writer(writer)
    file.lend(reader)
    file.lend(reader)
    file.lend(writer)
    file.remove_reader()
    file.remove_writer(writer)
    file.give_back(writer)
    file.give_back(reader)
    assert (_is_open(reader), _is_open(writer)) == (True, False)
    file.give_back(reader)
    assert not _is_open(reader)

    again = os.open(tmp_path / "file", os.O_RDONLY)
    file.add_reader(again)
    file.lend(again)
    file.give_back(again)
    assert _is_open(again), "it is the reader's still"
    file.remove_reader()
    assert not _is_open(again)
    plain.close()


def test_a_file_that_does_not_close_well_is_closed(tmp_path: Path) -> None:
    """As a network's filesystem may say that a write was lost. The thread that closes it goes on, and the number, which
    is free, is used no longer."""
    plain = PlainDirectory.open(tmp_path)
    file = OpenFile(node_table(plain).root)
    (tmp_path / "file").write_bytes(b"content")
    bad = os.open(tmp_path / "file", os.O_RDONLY)
    os.close(bad)  # to close it again fails
    file.add_reader(bad)
    file.lend(bad)
    file.remove_reader()
    file.give_back(bad)
    assert file.fd == -1

    file.add_reader(bad)
    file.remove_reader()
    assert file.fd == -1
    plain.close()
