"""What a pin is to hold: the files below a root, and its nodes (blocks that are no leaves), which are kept in a CAR."""

from __future__ import annotations

import os
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from ipfsfs.errors import FormatError
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.store import kept
from ipfsfs.store.tables.pins import FILES_MAX, PinnedFile
from ipfsfs.unixfs import car, cid, reading
from ipfsfs.unixfs.reading import File

_RECORD: Final = struct.Struct("<36sQ")
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True, eq=False)
class _Written:
    """An origin whose blocks are written into a CAR as they come, but for leaves of files."""

    origin: Origin
    file: BinaryIO
    leaves_too: bool = True
    """Whether a dag-pb block that is a whole file is one of those: a directory says of it neither size nor mode."""
    _written: set[bytes] = field(default_factory=set)

    @property
    def name(self) -> str:
        """As `Origin`."""
        return self.origin.name

    async def block(self, wanted: bytes) -> bytes:
        """As `Origin`."""
        block = await self.origin.block(wanted)
        if cid.codec(wanted) != cid.RAW and wanted not in self._written and self._is_node(wanted, block):
            self._written.add(wanted)
            self.file.write(car.frame(wanted, block))
        return block

    def _is_node(self, wanted: bytes, block: bytes) -> bool:
        node = reading.read(wanted, block)
        return self.leaves_too or not isinstance(node, File) or bool(node.parts)

    async def has(self, wanted: bytes) -> bool:
        """As `Origin`."""
        return await self.origin.has(wanted)

    async def aclose(self) -> None:
        """As `Origin`."""
        await self.origin.aclose()


async def gather(
    origin: Origin, extents_fd: int, root: bytes, report: Callable[[int], Awaitable[None]]
) -> list[PinnedFile]:
    """The files below a root; its nodes are on disk in their CAR then. `report` is told how many files are known.

    Raises OriginError, which names the block that cannot be had, FormatError and OSError.
    """
    directory = os.open(kept.DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=extents_fd)
    try:
        with _new_car(directory, root) as file:
            return await _files(_Written(origin, file), root, report)
    finally:
        os.close(directory)


@contextmanager
def _new_car(directory: int, root: bytes) -> Iterator[BinaryIO]:
    """A CAR that gets its name, durably, once the block has ended well."""
    new = kept.car_name(root) + kept.NEW
    try:
        with open(os.open(new, _FLAGS, 0o600, dir_fd=directory), "wb") as file:
            file.write(car.header([root]))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, kept.car_name(root), src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise


async def _files(origin: _Written, root: bytes, report: Callable[[int], Awaitable[None]]) -> list[PinnedFile]:
    found: dict[PinnedFile, bytes] = {}
    async for batch in dag.tree(origin, root):
        for entry in batch:
            if entry.kind == "file":
                if entry.size is None:
                    raise FormatError(f"{cid.to_text(entry.cid)} is in the tree, which does not say how large it is")
                found[PinnedFile(version_1(entry.cid), entry.size)] = entry.cid
        if len(found) > FILES_MAX:
            raise FormatError(f"{cid.to_text(root)} holds more than {FILES_MAX:,} files", hint="Pin parts of it.")
        await report(len(found))
    origin.leaves_too = False
    for file, named in found.items():
        if cid.codec(named) != cid.RAW:
            await dag.file(origin, named, file.size)
    return list(found)


def version_1(any_cid: bytes) -> bytes:
    """A CID as files are known by here."""
    return any_cid if cid.codec(any_cid) == cid.RAW else cid.dag_pb_cid(cid.digest(any_cid))


def pack(files: list[PinnedFile]) -> bytes:
    """Files as they travel from the fetcher to the daemon."""
    return b"".join(_RECORD.pack(*file) for file in files)


def unpack(data: bytes) -> list[PinnedFile]:
    """The reverse of `pack`."""
    return [PinnedFile(*record) for record in _RECORD.iter_unpack(data)]
