"""The daemon process: `python -m ipfsfs.daemon CONFIG READY_FD`, as `ipfsfs.daemon.start` starts it.

It says once how starting went, as a line of JSON on READY_FD, and logs to the store from then on.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import trio

from ipfsfs.daemon import placing
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.control import listen
from ipfsfs.daemon.lifecycle import Running, clear_stale, serve
from ipfsfs.errors import IpfsfsError
from ipfsfs.plain import syscalls
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.layout import Store

_LOG_BYTES: Final = 4 * 1024 * 1024
_PREDECESSOR_S: Final = 5.0
"""How long to wait for the store: a guardian or a daemon that is going holds it for a moment."""


def main() -> int:
    """Run a daemon in the background."""
    config = Config.from_json(sys.argv[1])
    ready_fd = int(sys.argv[2])
    os.setsid()
    told = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(ready_fd, json.dumps(answer).encode() + b"\n")
            os.close(ready_fd)

    def ready(running: Running) -> None:
        _quiet()
        tell({"ready": {"pid": os.getpid(), "features": running.features, "degraded": running.view.seals.degraded}})

    try:
        run(config, ready, to_file=True)
    except IpfsfsError as error:
        tell({"error": str(error), "hint": error.hint, "exit_code": error.exit_code})
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
    placing.refuse_what_cannot_be_covered(config.mountpoint, config.store)
    store = Store.open(config.store, wait_s=_PREDECESSOR_S)
    try:
        _log_to(store.log_path if to_file else None)
        clear_stale(config.mountpoint)
        plain = PlainDirectory.open(config.mountpoint)
        try:
            trio.run(serve, config, plain, store, ready, listen)
        except ExceptionGroup as group:
            raise _expected(group) or group from group
        finally:
            plain.close()
    finally:
        store.close()


def _expected(group: ExceptionGroup[Any]) -> IpfsfsError | None:
    """The one error of ours in a group that trio made of it, if there is nothing else in it."""
    matched, others = group.split(IpfsfsError)
    first: Any = matched
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, IpfsfsError) and others is None else None


class _PrivateFileHandler(logging.handlers.RotatingFileHandler):
    """A log for its owner alone, whatever the umask is: as root's daemon it is 0."""

    def _open(self) -> TextIOWrapper:
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=opener)


class _OneLineFormatter(logging.Formatter):
    """Escapes what is not printable: names of files can hold anything, a line of a log included."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        message = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message)


def _log_to(path: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if path is not None:
        handler = _PrivateFileHandler(
            path, maxBytes=_LOG_BYTES, backupCount=3, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
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
