"""The store's directory: what lies where in it, who may use it, and its format.

    format       the version of all this, a decimal number
    lock         locked (flock) by the process that uses the store
    index        seals; can be made again (`ipfsfs.store.index`)
    ledger       what cannot be made again (`ipfsfs.store.ledger`)
    quarantine/  content that broke a promise or was replaced (`ipfsfs.store.quarantine`)
    extents/     leaves of files that are not wholly here (`ipfsfs.store.extents`)
    blocks/      blocks that were imported (`ipfsfs.store.blocks`)
    log/         daemon.log
    control.sock where the daemon listens

All of it belongs to one user, and no other may use it: modes 0700 and 0600.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.errors import StoreBusy, StoreError
from ipfsfs.printed import command
from ipfsfs.store import blocks
from ipfsfs.store.database import File
from ipfsfs.store.directory import open_directory
from ipfsfs.store.names import names_in

FORMAT: Final = 1

MIGRATIONS: Final[dict[int, Callable[[int], None]]] = {}
"""From a version to the function that brings a store of that version, given its descriptor, to the next."""

LOG_NAME: Final = "daemon.log"

_POLL_S: Final = 0.02
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Store:
    """The open store, locked by us. `fd` is a descriptor of it; `quarantine_fd`, `extents_fd` and `blocks_fd` are of
    directories in it: all in it is reached from them. `directory` is the path it had when it was opened, for messages.
    """

    directory: Path
    fd: int
    quarantine_fd: int
    extents_fd: int
    blocks_fd: int
    _lock_fd: int
    _made: _Made | None
    """What was made when it was opened, where there was no store before."""

    @classmethod
    def open(cls, directory: Path, *, create: bool = True, wait_s: float = 0.0) -> Store:
        """Open and lock the store in `directory`; where there is none it is made, if `create`.

        Waits up to `wait_s` seconds for another process to release it, then raises StoreBusy. Raises StoreError where
        the directory cannot be used or is of another version; it is then left as it was.
        """
        fds: list[int] = []
        made: _Made | None = None
        missing = tuple(path for path in (directory, *directory.parents) if not os.path.lexists(path))
        try:
            fds.append(open_directory(directory, create=create))
            if not _is_store(fds[0]):
                made = _Made(fds[0], missing)
                _check_new(fds[0], directory, create)
            _claim(fds[0], directory)
            fds.append(_lock(fds[0], directory, wait_s))
            if made is not None and _is_store(fds[0]):
                made = None  # another process was faster
            _check_format(fds[0], directory, create)
            for name in ("quarantine", "extents", blocks.NAME, "log"):
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fds[0])
            fds.append(os.open("quarantine", _DIRECTORY, dir_fd=fds[0]))
            fds.append(os.open("extents", _DIRECTORY, dir_fd=fds[0]))
            fds.append(os.open(blocks.NAME, _DIRECTORY, dir_fd=fds[0]))
            return cls(Path(os.readlink(f"/proc/self/fd/{fds[0]}")), fds[0], fds[2], fds[3], fds[4], fds[1], made)
        except BaseException as error:
            if made is not None:
                made.take_away(is_locked=len(fds) > 1)
            for fd in reversed(fds):
                os.close(fd)
            if isinstance(error, OSError):
                hint = f"To have it elsewhere: {command('mount --store DIR PATH')}" if create else ""
                raise StoreError(f"the store {directory} cannot be used: {error.strerror}", hint=hint) from error
            raise

    @property
    def index_file(self) -> File:
        """The database of seals."""
        return File(self.fd, "index")

    @property
    def ledger_file(self) -> File:
        """The database of what cannot be made again."""
        return File(self.fd, "ledger")

    @property
    def log_path(self) -> Path:
        """The daemon's log, for messages."""
        return self.directory / "log" / LOG_NAME

    def open_log(self) -> int:
        """A new descriptor of the daemon's log, which appends; the log is made where there is none. Raises OSError."""
        directory = self.open_log_directory()
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(LOG_NAME, flags, 0o600, dir_fd=directory)
        finally:
            os.close(directory)

    def open_log_directory(self) -> int:
        """A new descriptor of the directory of logs. Raises OSError."""
        return os.open("log", _DIRECTORY, dir_fd=self.fd)

    def unlock(self) -> None:
        """Release the store for another process. Files in it stay open here, but must not be written any more."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def discard(self) -> None:
        """Close the store; where there was none before it was opened, nothing of it is left."""
        if self._made is not None:
            self._made.take_away(is_locked=True)
        self.close()

    def close(self) -> None:
        """Close the store, its lock last."""
        for fd in (self.blocks_fd, self.extents_fd, self.quarantine_fd, self.fd, self._lock_fd):
            os.close(fd)


@dataclass(slots=True, frozen=True)
class _Made:
    """A store that was none before: a descriptor of its directory, and which of that and those above it are new."""

    fd: int
    directories: tuple[Path, ...]

    def take_away(self, *, is_locked: bool) -> None:
        """Remove it as far as nothing else is in it. What is in it is ours alone while we have the lock."""
        with suppress(OSError):
            if is_locked:
                # The lock goes last: who waits for it then has one that is nobody's, and sees that.
                for name in sorted(_own_names(self.fd), key=lambda name: name == "lock"):
                    _remove(name, self.fd)
            for path in self.directories:
                path.rmdir()


def _own_names(dir_fd: int) -> list[str]:
    """What a store has in it, of all that is in a directory."""
    of_databases = ("index", "ledger")
    others = {"lock", "format", "format.new", "quarantine", "extents", blocks.NAME, "log", "control.sock", "lingering"}
    return [name for name in names_in(dir_fd) if name in others or name.startswith(of_databases)]


def _remove(name: str, dir_fd: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=dir_fd)
    else:
        os.unlink(name, dir_fd=dir_fd)


def _is_store(dir_fd: int) -> bool:
    """Whether a directory is a store already, by its format."""
    return "format" in names_in(dir_fd)


def _claim(fd: int, directory: Path) -> None:
    """See that a directory is ours and closed to others."""
    st = os.fstat(fd)
    if st.st_uid != os.geteuid():
        raise StoreError(
            f"the store {directory} belongs to user {st.st_uid}, not to you",
            hint="Choose another with --store, or run as its owner.",
        )
    if stat.S_IMODE(st.st_mode) != 0o700:
        with suppress(PermissionError):
            os.fchmod(fd, 0o700)
        if os.fstat(fd).st_mode & 0o077:
            raise StoreError(
                f"the store {directory} is open to other users, and its filesystem does not let that be changed",
                hint="Choose one on a filesystem with permissions, with --store.",
            )


def _lock(dir_fd: int, directory: Path, wait_s: float) -> int:
    fd = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink == 0:
                os.close(fd)
                raise StoreBusy(
                    f"the store {directory} was removed meanwhile: another mount made it, and failed",
                    hint="Run this again.",
                )
            return fd
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() >= deadline:
                os.close(fd)
                if error.errno == errno.EWOULDBLOCK:
                    raise StoreBusy(
                        f"the store {directory} is in use by another process",
                        hint=f"To see the views, and whose store it is: {command('status')}",
                    ) from error
                raise
        time.sleep(_POLL_S)


def _check_format(dir_fd: int, directory: Path, create: bool) -> None:
    """See that the store has the version we know, bringing it there if need be; mark a new one."""
    try:
        fd = os.open("format", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        _check_new(dir_fd, directory, create)
        _write_format(dir_fd, FORMAT)
        return
    with open(fd, "rb") as file:
        text = file.read(32)
    try:
        version = int(text)
    except ValueError:
        raise StoreError(f"{directory}/format holds no version: {text!r}", hint=_ANOTHER) from None
    if version > FORMAT:
        raise StoreError(
            f"the store {directory} has format {version}, this version of ipfsfs knows formats up to {FORMAT}",
            hint="Use the newer version, or another store (--store).",
        )
    while version < FORMAT:
        if version not in MIGRATIONS:
            raise StoreError(f"the store {directory} has format {version}, which is no longer known", hint=_ANOTHER)
        MIGRATIONS[version](dir_fd)
        version += 1
        _write_format(dir_fd, version)


_ANOTHER: Final = "No file of yours is in it: remove it, and it is made anew, or choose another with --store."


def _check_new(dir_fd: int, directory: Path, create: bool) -> None:
    """Refuse to take a directory of something else for a new store."""
    if not create:
        raise StoreError(f"{directory} is no store of ipfsfs")
    if foreign := sorted(set(names_in(dir_fd)) - {"lock", "format.new"}):
        raise StoreError(
            f"{directory} is no store of ipfsfs, and not empty: it holds {foreign[0]!r}",
            hint="Choose an empty or new directory with --store.",
        )


def _write_format(dir_fd: int, version: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open("format.new", flags, 0o600, dir_fd=dir_fd), "wb") as file:
        file.write(b"%d\n" % version)
        file.flush()
        os.fsync(file.fileno())
    os.rename("format.new", "format", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.fsync(dir_fd)
