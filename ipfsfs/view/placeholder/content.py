"""The content of a placeholder, as a handle holds it: leaves of an extent, checked, and fetched where they are missing.

Once the file is resident, be it that it was hydrated or that this handle is to write to it, the handle holds the
resident file's content and passes everything on.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.errors import IntegrityError
from ipfsfs.exchange.load import Load
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.access import Access
from ipfsfs.view.backing import Caller, Content, Node, ReadJob
from ipfsfs.view.placeholder.serving import Serving

_NOTHING: Final = memoryview(b"")
_TRIES: Final = 3
"""How often a leaf is read that rotted in the store, or whose extent became another's file, before it is given up."""


@dataclass(slots=True, eq=False)
class PlaceholderContent:
    """One open of a placeholder."""

    node: Node
    reference: Reference
    serving: Serving
    access: Access
    caller: Caller
    _load: Load | None = None
    _resident: Content | None = None
    _turning: trio.Lock = field(default_factory=trio.Lock)
    _may_serve: bool = False
    """Whether parts are served before all is here."""

    def __post_init__(self) -> None:
        self._may_serve = not self.reference.is_by_name

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """As `Content`: what lies in one leaf that was read of late."""
        if self._resident is not None:
            return self._resident.read_nowait(offset, size)
        size = min(size, self.reference.size - offset)
        if size <= 0:
            return _NOTHING
        load = self._load
        if load is None or load.is_retired or self.node.backing.is_settled:
            return None
        if not self._may_serve or self.node.withdrawn:
            return None
        index = load.table.index_at(offset)
        leaf = self.serving.leaves.get(load, index)
        within = offset - load.table[index].offset
        return leaf[within : within + size] if leaf is not None and within + size <= len(leaf) else None

    def job(self, offset: int, size: int) -> ReadJob | None:
        """As `Content`: none while it is not wholly here."""
        return None if self._resident is None else self._resident.job(offset, size)

    async def read(self, offset: int, size: int) -> memoryview:
        """As `Content`."""
        if self.node.backing.is_settled:
            return await (await self._turned()).read(offset, size)
        self.serving.hydrating.taking_back.refuse_what_is_refused(self.node)
        size = min(size, self.reference.size - offset)
        if size <= 0:
            return _NOTHING
        found = await self._leaf_part(offset, offset + size) if await self._serves_parts() else None
        if found is None:
            return await (await self._turned()).read(offset, size)
        if len(found) == size:
            return found
        data = bytearray(size)  # not before: a thousand reads may wait
        done = len(found)
        data[:done] = found
        while done < size and found is not None:
            found = await self._leaf_part(offset + done, offset + size)
            if found is not None:
                data[done : done + len(found)] = found
                done += len(found)
        if done < size:  # all of it came meanwhile
            rest = await (await self._turned()).read(offset + done, size - done)
            data[done : done + len(rest)] = rest
            done += len(rest)
        return memoryview(data)[:done]

    async def _serves_parts(self) -> bool:
        """Whether the file can be read before all of it is here. Where it cannot, for only the whole proves it, returns
        once that is here. Raises NotHere, IntegrityError."""
        if not self._may_serve:
            with self.serving.failures_logged(self.node):
                load = await self._loaded()
                if load is None:
                    return False
                self._may_serve = not await self.serving.proof.is_needed(self.node, load)
            if not self._may_serve:
                await self.resident()
        return self._may_serve

    async def _leaf_part(self, offset: int, end: int) -> memoryview | None:
        """The bytes from `offset` to `end`, or to the end of the leaf that `offset` lies in; what a read needs up to
        `end` is asked for as well. None where the file is resident by now. Raises IntegrityError, NotHere.
        """
        with self.serving.failures_logged(self.node):
            for tries in range(_TRIES):
                load = await self._loaded()
                if load is None:
                    return None
                index = load.table.index_at(offset)
                await self.serving.loads.have(load, index, load.table.index_at(end - 1))
                try:
                    leaf = await self.serving.leaves.read(load, index)
                except IntegrityError:
                    if tries + 1 == _TRIES:
                        raise
                else:
                    begin = load.table[index].offset
                    return leaf[offset - begin : end - begin]
        raise AssertionError

    async def _loaded(self) -> Load | None:
        """The load to read from; None where the file is resident by now. Raises NotHere, OSError."""
        async with self._turning:
            if self._load is not None and self._load.is_retired:
                self._forget_load()
            if self._load is None and not self.node.backing.is_settled:
                self._load = await self.serving.loads.open(self.reference, self.serving.nodes.path(self.node))
                self.serving.hydrating.is_for(self._load, self.node)
            return None if self.node.backing.is_settled else self._load

    async def _turned(self) -> Content:
        """The content of the resident file that the placeholder has become. Raises OSError."""
        async with self._turning:
            if self._resident is None:
                self._resident = await self._opened()
                self._forget_load()
                self.serving.links.release(self.node)
            return self._resident

    async def _opened(self) -> Content:
        try:
            opened = await self.node.backing.open(self.node, self.access, self.caller)
        except OSError as error:
            if error.errno != errno.ESTALE or self.node.held >= 0:
                raise
            # Changed beneath meanwhile: an open of the kernel's would be refused once, so that it looks again (H22). A
            # handle that is open stays with its file, be its name another's by now.
            try:
                opened = await self.node.backing.open(self.node, self.access, self.caller)
            except OSError:
                self.serving.links.lose_name(self.node)
                opened = await self.node.backing.open(self.node, self.access, self.caller)
        return opened.content

    async def resident(self) -> Content:
        """The content of the file as a resident one, for which all of it is fetched. Raises OSError, NotHere."""
        await self.node.backing.resident(self.node)
        return await self._turned()

    def write_nowait(self, offset: int, data: bytes) -> int | None:
        """As `Content`."""
        return None if self._resident is None else self._resident.write_nowait(offset, data)

    async def write(self, offset: int, data: bytes) -> int:
        """As `Content`; the whole file is fetched first."""
        return await (await self.resident()).write(offset, data)

    async def sync(self, *, data_only: bool) -> None:
        """As `Content`: what is not here was not changed."""
        if self._resident is not None:
            await self._resident.sync(data_only=data_only)

    def close(self) -> None:
        """As `Content`."""
        if self._resident is not None:
            self._resident.close()
        else:
            self._forget_load()
            self.serving.links.release(self.node)

    def _forget_load(self) -> None:
        if self._load is not None:
            if self.node.held >= 0:
                self.serving.hydrating.gone(self.node, self._load)
            self.serving.loads.close(self._load)
            self._load = None
