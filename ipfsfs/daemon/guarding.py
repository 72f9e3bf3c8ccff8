"""The daemon's side of its guardian: it is started, told what to guard, and started again when it ends."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.daemon.config import Config
from ipfsfs.daemon.log_lines import goes_to_journal
from ipfsfs.daemon.mounts import Mount
from ipfsfs.store.layout import Store

log = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0
_AGAIN_MOST_S: Final = 60.0
"""How long at least, and at most, nothing is done when a guardian that was started again has ended as well."""
_RELEASED_S: Final = 2.0
"""How long a guardian may take to end that has nothing to guard any more."""


@dataclass(slots=True)
class Guarding:
    """The guardian of this daemon."""

    _config: Config
    _store: Store
    _process: subprocess.Popen[bytes]
    _said: bytes = field(default=b"", init=False)
    """All that it was told, which its successor is told as well."""
    has_failed: bool = field(default=False, init=False)
    """Whether the end that is near is an accident, of which the guardian leaves a note."""

    @classmethod
    def start(cls, config: Config, store: Store) -> Guarding:
        """Start it, before there is anything to guard. Raises OSError."""
        return cls(config, store, _start(config, store, b""))

    @property
    def pid(self) -> int:
        """The process. It ends after this one, and has the store's directory open until then."""
        return self._process.pid

    def mounted(self, mount: Mount) -> None:
        """Have it guard a mount from now on."""
        self._say(b"mounted %d %d\n" % (mount.mount_id, mount.device))

    def over(self) -> None:
        """The path was given back on purpose, or is about to be: this daemon's end is no accident from now on."""
        self._say(b"over\n")

    def failed(self) -> None:
        """This daemon is about to end for an error that nobody expected."""
        self.has_failed = True
        self._say(b"failed\n")

    def release(self) -> None:
        """End it before this process does, where nothing is left to guard: a service manager would kill it otherwise,
        and log that as a stop that went wrong. Waits for its end."""
        self._say(b"released\n")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_RELEASED_S)

    async def keep(self) -> None:
        """Start another when it ends: while there is a daemon, none does by itself."""
        wait_s = _AGAIN_S
        while True:
            began = trio.current_time()
            try:
                await _until_ended(self._process)
                log.warning("the guardian was ended (exit code %d): another is started", self._process.wait())
                self._process = _start(self._config, self._store, self._said)
            except OSError as error:
                log.warning("no guardian can be started, or watched: %s", error)
            lasted = trio.current_time() - began > _AGAIN_MOST_S
            wait_s = _AGAIN_S if lasted else min(2 * wait_s, _AGAIN_MOST_S)
            await trio.sleep(wait_s)

    def _say(self, line: bytes) -> None:
        self._said += line
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(OSError):  # it has ended: another is told all of it
            stdin.write(line)


async def _until_ended(process: subprocess.Popen[bytes]) -> None:
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:  # whoever started us ignores SIGCHLD, and so did we
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def _start(config: Config, store: Store, said: bytes) -> subprocess.Popen[bytes]:
    """Have a process that outlives this one, and ends by itself when nothing is left to guard. It knows from its first
    moment what another was told: we may be killed in the next one.

    What it has to say goes to the log, which may be the journal. Any other stderr of ours is not for it: whoever called
    `mount` must not wait for its end.
    """
    log_fd = os.dup(2) if goes_to_journal() else store.open_log()
    try:
        return subprocess.Popen(  # the arguments are ours
            [
                sys.executable, "-P", "-m", "ipfsfs.daemon.guardian",
                str(os.getpid()), config.to_json(), str(store.fd), said.decode(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log_fd,
            bufsize=0,
            pass_fds=[store.fd],
            close_fds=True,
            cwd="/",
        )  # fmt: skip
    finally:
        os.close(log_fd)
