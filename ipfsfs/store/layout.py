"""The store's directory: what lies where in it, who may use it, and its format.

    format       the version of all this, a decimal number
    lock         held (flock) by whoever uses the store
    index        seals; can be made again (`ipfsfs.store.index`)
    ledger       what cannot be made again (`ipfsfs.store.ledger`)
    quarantine/  content that broke a promise or was replaced (`ipfsfs.store.quarantine`)
    log/         daemon.log
    control.sock where the daemon listens

All of it belongs to one user and is open to nobody else: modes 0700 and 0600.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.errors import StoreBusy, StoreError

FORMAT: Final = 1

MIGRATIONS: Final[dict[int, Callable[[Path], None]]] = {}
"""From a version to the function that brings a store of that version to the next."""

_POLL_S: Final = 0.02


@dataclass(slots=True)
class Store:
    """The open store, locked by us. `fd` and `quarantine_fd` are descriptors of the directories of these names."""

    directory: Path
    fd: int
    quarantine_fd: int
    _lock_fd: int

    @classmethod
    def open(cls, directory: Path, *, create: bool = True, wait_s: float = 0.0) -> Store:
        """Open and lock the store in `directory`; where there is none it is made, if `create`.

        Waits up to `wait_s` seconds for whoever holds it. Raises StoreBusy where somebody still does then, StoreError
        where the directory cannot be used or is of another version.
        """
        fds: list[int] = []
        try:
            if create:
                _make(directory)
            fds.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            _claim(fds[0], directory)
            fds.append(_lock(fds[0], directory, wait_s))
            _check_format(fds[0], directory, create)
            for name in ("quarantine", "log"):
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fds[0])
            fds.append(
                os.open("quarantine", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fds[0])
            )
            return cls(directory.resolve(), fds[0], fds[2], fds[1])
        except BaseException as error:
            for fd in reversed(fds):
                os.close(fd)
            if isinstance(error, OSError):
                raise StoreError(f"the store {directory} cannot be used: {error.strerror}") from error
            raise

    @property
    def index_path(self) -> Path:
        """The database of seals."""
        return self.directory / "index"

    @property
    def ledger_path(self) -> Path:
        """The database of what cannot be made again."""
        return self.directory / "ledger"

    @property
    def log_path(self) -> Path:
        """The daemon's log."""
        return self.directory / "log" / "daemon.log"

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens."""
        return self.directory / "control.sock"

    def unlock(self) -> None:
        """Let somebody else have the store. What is open of it stays open, but is not to be written to any more."""
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the store, its lock last."""
        for fd in (self.quarantine_fd, self.fd, self._lock_fd):
            os.close(fd)


def _make(directory: Path) -> None:
    """Make a directory, and those above it that are not there, each for us alone whatever the umask is."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)


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
            return fd
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() >= deadline:
                os.close(fd)
                if error.errno == errno.EWOULDBLOCK:
                    raise StoreBusy(f"the store {directory} is in use by another process") from error
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
        MIGRATIONS[version](directory)
        version += 1
        _write_format(dir_fd, version)


_ANOTHER: Final = "No file of yours is in it: remove it, and it is made anew, or choose another with --store."


def _check_new(dir_fd: int, directory: Path, create: bool) -> None:
    """Refuse to take a directory of something else for a new store."""
    if not create:
        raise StoreError(f"{directory} is no store of ipfsfs")
    if foreign := sorted(set(os.listdir(dir_fd)) - {"lock", "format.new"}):
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
