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
