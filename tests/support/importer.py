"""The CIDs of real files and directories, by the pure functions: the shortest importer that there can be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ipfsfs.unixfs import chunk, directory, file
from ipfsfs.unixfs.cid import raw_cid, to_text
from ipfsfs.unixfs.directory import Entry
from ipfsfs.unixfs.span import ReadAt


def leaves(read_at: ReadAt, size: int, chunker: chunk.Chunker) -> Iterator[tuple[bytes, int]]:
    """The (CID, length) of each leaf of a file."""
    offset = 0
    for length in chunk.plan(read_at, size, chunker):
        yield raw_cid(sha256(read_at(offset, length)).digest()), length
        offset += length


def import_path(path: Path) -> dict[bytes, str]:
    """The CIDs of `path` (key b"") and of all below it (keys are relative paths), cut as `ipfs add` cuts."""
    found: dict[bytes, str] = {}
    _import(os.fsencode(path), b"", found)
    return found


def _import(path: bytes, shown: bytes, found: dict[bytes, str]) -> tuple[bytes, int]:
    if os.path.islink(path):
        cid, block = file.symlink(os.readlink(path))
        tsize = len(block)
    elif os.path.isdir(path):
        entries = [
            Entry(name, *_import(path + b"/" + name, shown + b"/" + name if shown else name, found))
            for name in os.listdir(path)
        ]
        dag = directory.build(entries)
        cid, tsize = dag.cid, dag.tsize
    else:
        with open(path, "rb") as stream:
            number = stream.fileno()
            size = os.fstat(number).st_size
            dag = file.build(leaves(lambda offset, length: os.pread(number, length, offset), size, "fixed"))
        cid, tsize = dag.cid, dag.tsize
    found[shown] = to_text(cid)
    return cid, tsize
