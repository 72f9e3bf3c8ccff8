"""The proof that a placeholder is what its name promises, where other machines said so: all of it, and its sha256.

Before that, what came may be anything, such as a pickle that runs code where it is loaded. So parts of it are served
only of files that are known by no name but those of formats which hold no code, and that begin as such (H52).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import OriginError
from ipfsfs.exchange.load import Load
from ipfsfs.exchange.loads import Loads
from ipfsfs.exchange.on_hub import OnHub
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable

_WITHOUT_CODE: Final = (".safetensors", ".gguf")
_BEGINNING: Final = 64
"""Bytes that are looked at first."""


@dataclass(slots=True)
class Proof:
    """Whether parts of a file may be served. `trusts_peers`: all may, by a setting."""

    nodes: NodeTable
    loads: Loads
    on_hub: OnHub
    trusts_peers: bool

    async def is_needed(self, node: Node, load: Load) -> bool:
        """Whether a file is to be here wholly before it is read. Raises NotHere where its beginning cannot be had."""
        if self.trusts_peers:
            return False
        names = await self.on_hub.names(self.nodes.path(node))
        suffixes = {os.path.splitext(name)[1] for name in names or ()}
        if len(suffixes) != 1 or not suffixes <= set(_WITHOUT_CODE):
            return True
        return not await self._begins_as(load, suffixes.pop())

    async def _begins_as(self, load: Load, suffix: str) -> bool:
        size, table = load.reference.size, load.table
        needs, here = min(_BEGINNING, size), 0
        while here < needs <= size:
            last = table.index_at(needs - 1)
            await self.loads.have(load, 0, last)
            if load.is_retired:
                return False  # it is whole, and looked at as such
            here = table[last].offset + table[last].length
            try:
                is_one, needs = await self.loads.fetcher.is_weights(self.loads.name(load), suffix, size, here)
            except OriginError:  # the process died: only the whole will do
                return False
            if is_one:
                return True
        return False
