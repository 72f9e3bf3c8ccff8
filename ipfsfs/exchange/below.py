"""What lies below a path of the plain directory: files, and links that stand for files which are not here.

The links of a snapshot, and those to the shared store of a client, are followed to what they lead to, within the plain
directory. What a name on the way promises is promised of what is there (`docs/sharing.md`).
"""

from __future__ import annotations

import os
import posixpath
import stat as stat_
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.caches.place import Place, locate
from ipfsfs.plain import syscalls
from ipfsfs.plain.links import may_be_placeholder
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import Reference

_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_HOPS: Final = 3
"""Links one after the other: from a snapshot to a blob, and from there to the shared store."""


@dataclass(slots=True, frozen=True)
class Item:
    """A file, or a link that stands for one (`stands_for`).

    `path`: from the plain root, crossing no link. `named`: the path by which it was met, which may be a link to it.
    `promise`: the sha256 that a name on the way promises, None where none does.
    """

    path: bytes
    named: bytes
    st: os.stat_result
    stands_for: Reference | None
    promise: bytes | None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.st.st_size if self.stands_for is None else self.stands_for.size


@dataclass(slots=True, frozen=True)
class Below:
    """Looks below paths of a plain directory."""

    root_fd: int
    place: Place

    def items(self, prefix: bytes) -> Iterator[Item]:
        """What is below `prefix`, or is `prefix`; what several names lead to comes several times. No other filesystem
        is entered, and what cannot be read is passed over. Waits for the disk."""
        dev = os.fstat(self.root_fd).st_dev
        pending = [prefix.strip(b"/")]
        while pending:
            above = pending.pop()
            try:
                dir_fd = syscalls.open_beneath(self.root_fd, above, _LIST)
            except NotADirectoryError:
                yield from self._item(above)
                continue
            except OSError:
                yield from self._item(above)  # a link
                continue
            try:
                for name in sorted(os.fsencode(entry) for entry in os.listdir(dir_fd)):
                    path = above + b"/" + name if above else name
                    with suppress(OSError):
                        st = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
                        if stat_.S_ISDIR(st.st_mode):
                            if st.st_dev == dev:
                                pending.append(path)
                        else:
                            yield from self._found(path, dir_fd, name, st, dev)
            finally:
                os.close(dir_fd)

    def led_to(self, prefix: bytes) -> list[bytes]:
        """The paths of files elsewhere that links below `prefix` lead to: blobs of a snapshot, and what a blob leads to
        in the clients' shared store. Waits for the disk."""
        above = prefix.strip(b"/") + b"/"
        found = {item.path for item in self.items(prefix) if item.stands_for is None and item.path != item.named}
        return sorted(path for path in found if not path.startswith(above)) if above != b"/" else []

    def _found(self, path: bytes, dir_fd: int, name: bytes, st: os.stat_result, dev: int) -> Iterator[Item]:
        if st.st_dev != dev:
            return
        if stat_.S_ISREG(st.st_mode):
            yield Item(path, path, st, None, self._promise(path))
        elif stat_.S_ISLNK(st.st_mode):
            text = os.readlink(name, dir_fd=dir_fd)
            stands_for = self._stands_for(path, st, text)
            if stands_for is not None:
                yield Item(path, path, st, stands_for, self._promise(path))
            else:
                yield from self._item(path)

    def _item(self, named: bytes) -> Iterator[Item]:
        """What a path leads to, by links if need be."""
        path, promise = named, None
        for _ in range(_HOPS + 1):
            promise = promise or self._promise(path)
            try:
                fd = syscalls.open_beneath(self.root_fd, path, os.O_PATH | os.O_NOFOLLOW)
            except OSError:
                return
            try:
                st = os.fstat(fd)
                if stat_.S_ISREG(st.st_mode):
                    yield Item(path, named, st, None, promise)
                    return
                if not stat_.S_ISLNK(st.st_mode):
                    return
                text = os.readlink(b"", dir_fd=fd)
            finally:
                os.close(fd)
            stands_for = self._stands_for(path, st, text)
            if stands_for is not None:
                yield Item(path, named, st, stands_for, promise)
                return
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
            if path.startswith((b"/", b"../")):
                return

    def _stands_for(self, path: bytes, st: os.stat_result, text: bytes) -> Reference | None:
        if not may_be_placeholder(st):
            return None
        found = reference.parse(text)
        if found is None:
            return None
        directory, _, name = path.rpartition(b"/")
        place = locate(directory + b"/" if directory else b"", self.place)[0]
        return found if place.may_be_elsewhere(name) else None

    def _promise(self, path: bytes) -> bytes | None:
        return locate(path, self.place)[1].promise
