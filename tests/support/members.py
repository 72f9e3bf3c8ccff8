"""Real clients that are run by other users, who share one cache. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.clients import Clients
from tests.support.users import NOBODY, User


@dataclass(frozen=True, slots=True)
class Member(Clients):
    """As `Clients`, run by a user. `program`: where that user finds this interpreter, see `program_within_reach`."""

    user: User = NOBODY
    program: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, user: User, home: Path, hub: str, scratch: Path, program: dict[str, str]) -> Member:
        """A user whose home, below `scratch`, is for nobody else."""
        own = scratch / f"home-{user.uid}"
        own.mkdir()
        own.chmod(0o700)
        os.chown(own, user.uid, user.uid)
        return cls(home, hub, own, user=user, program=program)

    @contextmanager
    def start(self, module: str, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """As `Clients`."""
        # By a shell of theirs: root's own directory may be closed to them.
        entered = ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(self.scratch)]
        with subprocess.Popen(
            [*entered, self.program["python"], "-m", module, *args],
            env=self.environment(PYTHONPATH=self.program["PYTHONPATH"], **env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=self.user.uid,
            group=self.user.uid,
            extra_groups=self.user.groups,
            umask=self.user.umask,
        ) as process:
            try:
                yield process
            finally:
                process.kill()
