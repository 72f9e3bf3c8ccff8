"""The quarantine: content that broke a promise or was overwritten, each with a note that says where it came from.

The note is written first, so that nothing ever lies there unexplained. What is copied gets its name when all of it is
on disk. All of it together takes no more than a limit: beyond that the oldest goes.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import StoreError
from ipfsfs.store.names import names_in
from ipfsfs.store.tables.quarantined import Quarantined

log = logging.getLogger(__name__)

NOTE_SUFFIX: Final = ".json"
PARTIAL_SUFFIX: Final = ".partial"
"""Ends the name of a copy that is not complete."""

_SIZE_MOST: Final = 16_000_000_000
_SHARE: Final = 4
"""Where the user names no size: a quarter of what is free or taken by the quarantine, and 16 GB at most."""
_FILES_MOST: Final = 10_000
_NOTE_SIZE: Final = 4_096
"""Bytes on disk that a note counts as."""
_BLOCK: Final = 512
"""The unit of `st_blocks`."""
_KEPT_OF_NAME: Final = 120
_NAME: Final = r"\d{8}T\d{6}Z-[0-9a-f]{8}-"
_NOTE: Final = re.compile(_NAME + r"[0-9a-f]{64}" + re.escape(NOTE_SUFFIX))
"""The name of a note, of which even an empty one is no content: what is put here has promised names."""
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9._-]")


@dataclass(slots=True, frozen=True)
class Kept:
    """A file in the quarantine: its name there, its size in bytes, and what its note says (None without a note)."""

    stored_as: str
    size: int
    note: dict[str, str | int] | None


@dataclass(slots=True, frozen=True)
class Usage:
    """How much lies in the quarantine, and how much may (bytes on disk)."""

    size: int
    limit: int


@dataclass(slots=True, frozen=True)
class _Stored:
    name: str
    owner: int
    size: int


@dataclass(slots=True, frozen=True)
class Quarantine:
    """The directory, and how much may lie in it. All methods may be called from any thread, and wait for the disk."""

    fd: int
    size: int | None = None
    """The limit in bytes; None where the user named none."""

    def usage(self) -> Usage:
        """How much lies here, and how much may. Raises OSError."""
        held = sum(item.size for item in self._stored())
        return Usage(held, self._limit(held))

    def make_room(self, size: int, owner: int) -> None:
        """Remove what is oldest until `size` bytes more of a user's would be within the limit.

        It goes from the user who has most here: nobody's content goes for that of a user who keeps more. Raises
        OSError; EFBIG where there is no room for it even so.
        """
        self._trim(size + _NOTE_SIZE, owner)

    def put_in_order(self) -> None:
        """Remove what a daemon left that died while it put a file here, and what is oldest until all is within the
        limit. Raises OSError and StoreError."""
        for name in left_over(self.fd):
            remove(self.fd, name)
        self._trim(0, -1)

    def _trim(self, coming: int, owner: int) -> None:
        stored = self._stored()
        total = sum(item.size for item in stored)
        limit = self._limit(total)
        owned = Counter({owner: coming})
        for item in stored:
            owned[item.owner] += item.size
        files = len(stored) + (1 if coming else 0)
        while total + coming > limit or files > _FILES_MOST:
            most = max(owned, key=lambda user: (owned[user], user == owner))
            oldest = next((item for item in stored if item.owner == most and not _is_left_over(item.name)), None)
            if oldest is None:
                raise OSError(errno.EFBIG, f"the quarantine has no room for it within its limit of {limit} bytes")
            log.warning("%s is removed from the quarantine, to keep that within %d bytes", oldest.name, limit)
            with suppress(FileNotFoundError):
                _unlink(self.fd, oldest.name)
            stored.remove(oldest)
            owned[most] -= oldest.size
            total -= oldest.size
            files -= 1

    def _limit(self, held: int) -> int:
        if self.size is not None:
            return self.size
        free = os.fstatvfs(self.fd)
        return min(_SIZE_MOST, (free.f_bavail * free.f_frsize + held) // _SHARE)

    def _stored(self) -> list[_Stored]:
        """What lies here, the oldest first, with what each and its note take on disk."""
        found = []
        for name in sorted(_names(self.fd)):
            with suppress(FileNotFoundError):
                st = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                found.append(_Stored(name, st.st_uid, st.st_blocks * _BLOCK + _NOTE_SIZE))
        return found

    @contextmanager
    def incoming(self, item: Quarantined, source: os.stat_result) -> Iterator[int]:
        """A new file to copy content to, which counts as its owner's for the filesystem's quota; kept, and on disk,
        when the block ends without an error. Raises OSError."""
        self.make_room(source.st_blocks * _BLOCK, source.st_uid)
        write_note(self.fd, item)
        partial = item.stored_as + PARTIAL_SUFFIX
        try:
            with _closing(open_new(self.fd, partial)) as target:
                own = os.fstat(target)
                if (own.st_uid, own.st_gid) != (source.st_uid, source.st_gid):
                    os.fchown(target, source.st_uid, source.st_gid)
                yield target
                os.fsync(target)
            os.rename(partial, item.stored_as, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            os.fsync(self.fd)
        except BaseException:
            clear_away(self.fd, item.stored_as)
            raise


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    """A descriptor, closed when the block ends."""
    try:
        yield fd
    finally:
        os.close(fd)


def name_for(path: bytes, when_ns: int) -> str:
    """A new name (at most 160 ASCII characters) for content that was to stand at `path`: time, something random, and
    the last component. Names sort by time."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(when_ns // 1_000_000_000))
    last = _UNSAFE.sub(b"_", path.rpartition(b"/")[2])[-_KEPT_OF_NAME:]
    return f"{moment}-{os.urandom(4).hex()}-{last.decode('ascii')}"


def write_note(quarantine_fd: int, item: Quarantined) -> None:
    """Write the note that belongs to `item.stored_as`. Raises OSError."""
    note = {
        "path": item.name.decode("utf-8", "backslashreplace"),
        "promised_sha256": item.promised.hex(),
        "actual_sha256": item.actual.hex(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(item.when_ns // 1_000_000_000)),
        "why": item.why,
    }
    name = item.stored_as + NOTE_SUFFIX
    with open(open_new(quarantine_fd, name), "wb", buffering=0) as file:
        try:
            file.write(json.dumps(note, indent=2).encode("ascii") + b"\n")
        except OSError:
            os.unlink(name, dir_fd=quarantine_fd)
            raise


def open_new(quarantine_fd: int, name: str) -> int:
    """A new, empty file in the quarantine, open for writing. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=quarantine_fd)


def kept(quarantine_fd: int) -> list[Kept]:
    """What is in the quarantine, the oldest first. Raises StoreError."""
    found = []
    try:
        for name in sorted(_names(quarantine_fd)):
            if _is_left_over(name):
                continue
            with suppress(FileNotFoundError):
                st = os.stat(name, dir_fd=quarantine_fd, follow_symlinks=False)
                found.append(Kept(name, st.st_size, _read_note(quarantine_fd, name + NOTE_SUFFIX)))
    except OSError as error:
        raise StoreError(f"cannot read the quarantine: {error.strerror}") from error
    return found


def remove(quarantine_fd: int, name: str) -> None:
    """Remove a file from the quarantine, and its note. Raises StoreError."""
    try:
        _unlink(quarantine_fd, name)
    except OSError as error:
        raise StoreError(f"cannot remove {name} from the quarantine: {error.strerror}") from error


def clear_away(quarantine_fd: int, stored_as: str) -> None:
    """Remove what was begun for a file that was not put here after all, as far as that can be done."""
    for name in (stored_as + PARTIAL_SUFFIX, stored_as, stored_as + NOTE_SUFFIX):
        with suppress(OSError):
            os.unlink(name, dir_fd=quarantine_fd)


def left_over(quarantine_fd: int) -> list[str]:
    """What a daemon left that died while it put a file here: notes without a file, and copies that are not complete.
    Raises StoreError."""
    try:
        return sorted(name for name in _names(quarantine_fd) if _is_left_over(name))
    except OSError as error:
        raise StoreError(f"cannot read the quarantine: {error.strerror}") from error


def _is_left_over(name: str) -> bool:
    return _NOTE.fullmatch(name) is not None or name.endswith(PARTIAL_SUFFIX)


def _names(quarantine_fd: int) -> list[str]:
    """The names of all that lies here, without those of notes about it."""
    names = set(names_in(quarantine_fd))
    return [name for name in names if not (name.endswith(NOTE_SUFFIX) and name.removesuffix(NOTE_SUFFIX) in names)]


def _unlink(quarantine_fd: int, name: str) -> None:
    os.unlink(name, dir_fd=quarantine_fd)
    with suppress(FileNotFoundError):
        os.unlink(name + NOTE_SUFFIX, dir_fd=quarantine_fd)


def _read_note(quarantine_fd: int, name: str) -> dict[str, str | int] | None:
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=quarantine_fd), "rb") as file:
            note = json.loads(file.read(65_536))
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) else None
