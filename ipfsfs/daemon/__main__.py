"""The daemon process: `python -m ipfsfs.daemon CONFIG READY_FD`, as `ipfsfs.daemon.start` starts it.

It says once how starting went, as a line of JSON on READY_FD, and logs to the store from then on.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, Final

import trio

from ipfsfs.daemon import placing, remains
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.control import listen
from ipfsfs.daemon.failure import Failure
from ipfsfs.daemon.lifecycle import Running, serve
from ipfsfs.daemon.log_lines import STAMP, for_journal, goes_to_journal
from ipfsfs.daemon.start import Started
from ipfsfs.errors import IpfsfsError
from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.printed import printable
from ipfsfs.store.layout import LOG_NAME, Store

_LOG_BYTES: Final = 4 * 1024 * 1024
_PREDECESSOR_S: Final = 5.0
"""How long to wait for the store: a guardian or a daemon that is going holds it for a moment."""


def main() -> int:
    """Run a daemon in the background."""
    config = Config.from_json(sys.argv[1])
    ready_fd = int(sys.argv[2])
    told = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(ready_fd, json.dumps(answer).encode() + b"\n")
            os.close(ready_fd)

    def ready(running: Running) -> None:
        _quiet()
        tell({"ready": encode(Started.of(running))})

    try:
        run(config, ready, to_file=True)
    except IpfsfsError as error:
        tell(encode(Failure.of(error)))
        if logging.getLogger().handlers:  # else there is no log yet, and who started us has been told
            logging.getLogger("ipfsfs").error("%s %s", error, error.hint)
        return error.exit_code
    except Exception:  # nobody sees stderr any more
        logging.getLogger("ipfsfs").exception("the daemon met a bug and ends; the path becomes the plain directory")
        raise
    return 0


def run(config: Config, ready: Callable[[Running], None], *, to_file: bool) -> None:
    """Serve until unmounted, logging to the store or to stderr. Raises IpfsfsError where it cannot begin."""
    syscalls.name_process(b"ipfsfs")
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # a lease that is asked back while it is held sends it
    placing.refuse_what_cannot_be_covered(config.mountpoint, config.store)
    store = Store.open(config.store, wait_s=_PREDECESSOR_S)
    end, was_served = store.close, False

    def served(running: Running) -> None:
        nonlocal was_served
        was_served = True
        ready(running)

    try:
        _log_to(store if to_file else None)
        remains.clear_stale(config.mountpoint)
        plain = PlainDirectory.open(config.mountpoint)
        try:
            trio.run(serve, config, plain, store, served, listen)
        except ExceptionGroup as group:
            raise _expected(group) or group from group
        finally:
            plain.close()
    except (IpfsfsError, KeyboardInterrupt):
        if not was_served:
            end = store.discard  # what failed is told; there is nothing to be kept of a view that never was
        raise
    finally:
        end()


def _expected(group: ExceptionGroup[Any]) -> IpfsfsError | None:
    """The one error of ours in a group that trio made of it, if there is nothing else in it."""
    matched, others = group.split(IpfsfsError)
    first: Any = matched
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, IpfsfsError) and others is None else None


class _StoreLog(logging.handlers.RotatingFileHandler):
    """The log in a store, for its owner alone, whatever the umask is: as root's daemon it is 0.

    It and its older files are reached from a descriptor of their directory, which stays open as long as the process.
    """

    def __init__(self, store: Store) -> None:
        self._directory = store.open_log_directory()
        path = f"/proc/self/fd/{self._directory}/{LOG_NAME}"
        super().__init__(path, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        def opener(_: str, flags: int) -> int:
            return os.open(LOG_NAME, flags | os.O_NOFOLLOW, 0o600, dir_fd=self._directory)

        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=opener)


class _OneLineFormatter(logging.Formatter):
    """Escapes what is not printable: names of files can hold anything, a line of a log included."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        message = super().formatMessage(record)
        return printable(message)


class _JournalFormatter(_OneLineFormatter):
    """Gives each line its priority, those of a traceback included."""

    def format(self, record: logging.LogRecord) -> str:
        return for_journal(record.levelname, super().format(record))


def _log_to(store: Store | None) -> None:
    """Log to a store, or to stderr. Raises OSError where the store's log cannot be opened."""
    handler = logging.StreamHandler() if store is None else _StoreLog(store)
    if store is None and goes_to_journal():
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(message)s", STAMP))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _quiet() -> None:
    """From now on nobody reads what is printed."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
