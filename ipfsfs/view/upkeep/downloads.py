"""Downloads: files in `blobs/` whose sha256 is computed while they are written, so that little is left to do when they
get their name (H25)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.place import Place
from ipfsfs.spans import Spans
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.workers.sealer.client import Sealer

_STEP: Final = 4 * 1024 * 1024
"""The hasher is told of a download's growth in steps of this many bytes."""


@dataclass(slots=True)
class _Download:
    spans: Spans
    told: int = 0


@dataclass(slots=True)
class Downloads:
    """Tells the sealer how far each download is. `kept_bytes`: of all that got a promised name and keep the promise."""

    nodes: NodeTable
    sealer: Sealer
    kept_bytes: int = 0
    _files: dict[int, _Download] = field(default_factory=dict)

    def opened(self, node: Node, place: Place, size: int) -> None:
        """A file with `size` bytes, 0 for a new one, was opened for writing."""
        if place.receives_downloads and node.ino not in self._files:
            self._files[node.ino] = _Download(Spans(size))

    def written(self, node: Node, offset: int, length: int) -> None:
        """Bytes were written."""
        download = self._files.get(node.ino)
        if download is None:
            return
        if download.spans.add(offset, offset + length) and offset < download.told:
            self.sealer.restart(node.ino)
            download.told = 0
        if download.spans.prefix - download.told >= _STEP:
            download.told = download.spans.prefix
            self.sealer.follow(node.ino, self.nodes.path(node), download.told)

    def truncated(self, ino: int, size: int) -> None:
        """A file was cut or extended to `size` bytes."""
        download = self._files.get(ino)
        if download is not None and download.spans.cut(size):
            self.sealer.restart(ino)
            download.told = 0

    def ended(self, ino: int) -> None:
        """A file was sealed or is gone."""
        if self._files.pop(ino, None) is not None:
            self.sealer.unfollow(ino)
