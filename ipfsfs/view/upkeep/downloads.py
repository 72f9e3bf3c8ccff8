"""Downloads: files in `blobs/` whose sha256 is computed while they are written, so that little is left to do when they
get their name (H25)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ipfsfs.caches.place import Place
from ipfsfs.spans import Spans
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.workers.sealer.client import Sealer

_STEP: Final = 4 * 1024 * 1024
"""The hasher is told of a download's growth in steps of this many bytes."""


@dataclass(slots=True)
class _Download:
    spans: Spans
    promise: bytes | None
    """The sha256 of what it is to become, where its name says that."""
    told: int = 0


@dataclass(slots=True)
class Downloads:
    """Tells the sealer how far each download is. `kept_bytes`: of all that got a promised name and keep the promise."""

    nodes: NodeTable
    files: OpenFiles
    sealer: Sealer
    kept_bytes: int = 0
    _files: dict[int, _Download] = field(default_factory=dict)
    _by_promise: dict[bytes, set[int]] = field(default_factory=dict)

    def opened(self, node: Node, place: Place, name: bytes, size: int) -> None:
        """A file with `size` bytes, 0 for a new one, was opened for writing by a name."""
        if place.receives_downloads and node.ino not in self._files:
            promise = place.unfinished(name)
            self._files[node.ino] = _Download(Spans(size), promise)
            if promise is not None:
                self._by_promise.setdefault(promise, set()).add(node.ino)

    def done(self, sha256: bytes) -> int | None:
        """How many bytes are here of what is to have this sha256; None where no program writes it now."""
        found = [self._files[ino].spans.count for ino in self._by_promise.get(sha256, ()) if self._is_written(ino)]
        return max(found, default=None)

    def _is_written(self, ino: int) -> bool:
        node = self.nodes.find(self.nodes.plain.dev, ino)
        file = self.files.of(node) if node is not None else None
        return file is not None and file.writers > 0

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
        download = self._files.pop(ino, None)
        if download is None:
            return
        self.sealer.unfollow(ino)
        if download.promise is not None and (others := self._by_promise.get(download.promise)) is not None:
            others.discard(ino)
            if not others:
                del self._by_promise[download.promise]
