"""Tables of nodes without a view around them."""

from __future__ import annotations

from typing import Final, cast

from ipfsfs.caches.huggingface import HubPlace
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.view.backing import Backing
from ipfsfs.view.nodes import NodeTable

NO_BACKING: Final = cast(Backing, object())
"""The table never asks what backs a node."""


def node_table(plain: PlainDirectory, *, descriptor_limit: int = 1024) -> NodeTable:
    """The nodes of a directory, the root among them."""
    nodes = NodeTable(plain, HubPlace.OTHER, descriptor_limit)
    nodes.begin(NO_BACKING)
    return nodes
