"""A READ of a resident file that a thread does: what is right at the first look. All else is `Reader.read`'s."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass

from ipfsfs.plain import content
from ipfsfs.plain.into_memory import IntoMemory
from ipfsfs.store.seal import Seal
from ipfsfs.view.open_files import OpenFile
from ipfsfs.view.resident import units
from ipfsfs.view.streams import Span


@dataclass(slots=True, eq=False)
class ResidentRead:
    """One READ. Its descriptor stays open until it is `over`. `seal` and `sums` are what held when it came."""

    file: OpenFile
    fd: int
    offset: int
    size: int
    seal: Seal | None
    sums: memoryview | None
    _ahead: Span | None = None
    _was_missed: bool = False

    @classmethod
    def of(cls, file: OpenFile, fd: int, offset: int, size: int) -> ResidentRead:
        """A READ that has just come. Any thread may call this, so it goes by one attribute of the file."""
        file.lend(fd)
        seal = file.seal
        sums = memoryview(seal.sums).cast("Q") if seal is not None else None
        return cls(file, fd, offset, size, seal, sums)

    def at_hand(self, buffer: memoryview) -> memoryview | None:
        """As `ReadJob`."""
        start, want = units.widened(self.offset, self.size, self.seal)
        got = units.read_nowait(self.file, self.fd, buffer[:want], start)
        data = None if got is None else self._right(buffer[:got], start)
        if data is not None and not self._was_missed:
            self._ahead = self.file.streams.hit(self.offset, self.offset + self.size)
        return data

    def bring(self, into_memory: IntoMemory) -> bool:
        """As `ReadJob`. Where the filesystem cannot be asked to read without waiting, or has no page cache, whoever
        looked for the bytes afterwards might have to wait once more."""
        self._was_missed = True
        self._ahead = self.file.streams.missed(self.offset, self.offset + self.size)
        if not self.file.nowait:
            return False
        try:
            into_memory.bring(self.fd, *units.widened(self.offset, self.size, self.seal))
        except OSError as error:
            if error.errno == errno.EIO:  # a bad sector, which would be tried for as long once more
                raise
            return False
        return True

    def waited_for(self, buffer: memoryview) -> memoryview | None:
        """As `ReadJob`."""
        start, want = units.widened(self.offset, self.size, self.seal)
        return self._right(buffer[: content.read_whole_into(self.fd, buffer[:want], start)], start)

    def _right(self, data: memoryview, start: int) -> memoryview | None:
        if units.first_bad(data, start, self.sums, self.seal) >= 0:
            return None
        return data[self.offset - start : self.offset - start + self.size]

    @property
    def wants_more(self) -> bool:
        """As `ReadJob`."""
        return self._ahead is not None

    def read_ahead(self, into_memory: IntoMemory) -> None:
        """As `ReadJob`."""
        if self._ahead is not None:
            with suppress(OSError):
                into_memory.bring(self.fd, *self._ahead)

    def over(self) -> None:
        """As `ReadJob`."""
        self.file.give_back(self.fd)
