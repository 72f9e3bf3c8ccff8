"""What a guardian guards: a daemon, and the mount that it named."""

from __future__ import annotations

import json
import os
import select
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ipfsfs.daemon import mounts

Phase = Literal["mounting", "mounted", "over", "failed", "released"]
"""What the daemon said last: nothing yet; that its view is mounted; that it gave the path back on purpose; that it met
an error it cannot go on with; that nothing is left to guard."""


@dataclass(slots=True)
class Ward:
    """What is guarded: a daemon, and the mount that it named."""

    pid: int
    config: str
    """The daemon's configuration, as JSON: all of it matters only when another is started."""
    store_fd: int
    phase: Phase = "mounting"
    mount_id: int = -1
    device: int = -1
    silent: bool = False
    """Whether it was ended here, for it did not answer."""
    connection: int = -1
    """What ends its connection when it is written to, where fusectl is mounted. A number may be another's by then."""
    gave_back: bool = False
    """Whether the daemon has given the path back. From then on another may have the store."""
    _heard: bytes = b""

    @property
    def mountpoint(self) -> Path:
        """Where the daemon was to mount."""
        return Path(json.loads(self.config)["mountpoint"])

    @property
    def to_be_restarted(self) -> bool:
        """Whether the view was mounted with `--restart`."""
        return "restarts" in json.loads(self.config)

    def mount(self) -> mounts.Mount | None:
        """The view that the daemon mounted, if it is there still.

        A daemon that was ended before it could name it left at most a dead view of this user with this store. The
        store is compared in any case: once a mount is gone the kernel gives its number away, and its filesystem's too.
        """
        store = json.loads(self.config)["store"]
        ours = [view for view in mounts.views() if view.source == store and not view.is_of_another]
        if self.phase == "mounting":
            return next((view for view in ours if mounts.is_reached(view)), None)
        numbers = self.mount_id, self.device
        return next((view for view in ours if (view.mount_id, view.device) == numbers), None)

    def has_store(self, daemon: int) -> bool:
        """Whether the daemon has its store locked, so that there is no successor: until it has given the path back, or
        has ended. Not even SIGKILL ends one that waits for a disk."""
        return not self.gave_back and daemon >= 0 and not select.select([daemon], [], [], 0)[0]

    def listen(self, fd: int) -> bool:
        """Take in what the daemon says; false when it says no more."""
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            return True
        self.hear(data)
        return bool(data)

    def listen_to_all(self, fd: int) -> None:
        """Take in all that the daemon has said."""
        while self.listen(fd) and select.select([fd], [], [], 0)[0]:
            pass

    def _know_connection(self) -> None:
        with suppress(OSError):
            path = f"/sys/fs/fuse/connections/{os.minor(self.device)}/abort"
            connection = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            if self.mount() is None:
                os.close(connection)
            else:
                self.connection = connection

    def hear(self, data: bytes) -> None:
        """Take in what it has said, or a part of it."""
        self._heard += data
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            match line.split():
                case [b"mounted", mount_id, device]:
                    self.phase, self.mount_id, self.device = "mounted", int(mount_id), int(device)
                    self._know_connection()
                case [b"over"]:
                    self.phase, self.gave_back = "over", True
                case [b"failed"]:
                    self.phase = "failed"
                case [b"released"]:
                    self.phase = "released"
