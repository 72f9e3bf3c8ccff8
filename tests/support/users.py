"""Doing things as other users. Needs root; users are numbers, no account has to exist."""

from __future__ import annotations

import ast
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.mounted import TREE

_PYTHON: Final = "/usr/bin/python3"
_PREAMBLE: Final = """
import errno, os, stat, sys
came = []
def do(call):
    try:
        came.append(call())
    except OSError as error:
        came.append(errno.errorcode[error.errno])
def shown(path):
    st = os.lstat(path)
    return oct(st.st_mode), st.st_uid, st.st_gid, st.st_nlink
"""


@dataclass(frozen=True, slots=True)
class User:
    """A user with a group of its own number, and others."""

    uid: int
    groups: tuple[int, ...] = ()
    umask: int = 0o022

    def run(self, script: str, at: Path) -> Any:
        """Run a script in a directory; in it, `do(lambda: ...)` notes what a call returns or its errno. Returns all."""
        done = self.command([_PYTHON, "-c", f"{_PREAMBLE}\n{script}\nprint(repr(came))"], at)
        assert done.returncode == 0, done.stderr
        return ast.literal_eval(done.stdout)

    def command(self, arguments: list[Any], at: Path = Path("/"), **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user."""
        return subprocess.run(
            # By a shell of theirs: where root is kept out, it cannot start anything either.
            ["/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", at, *arguments],
            env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **env},
            user=self.uid,
            group=self.uid,
            extra_groups=self.groups,
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


NOBODY: Final = User(pwd.getpwnam("nobody").pw_uid)
"""An account that every machine has: fusermount3 serves nobody without one."""


@contextmanager
def program_within_reach(of: Path) -> Iterator[dict[str, str]]:
    """Where another user finds this interpreter's packages and ipfsfs: {"python": ..., "PYTHONPATH": ...}.

    The checkout may lie where only root can go, so it is mounted below `of` a second time. `/dev/fuse` is opened to all
    meanwhile, as it is on most machines.
    """
    bound = []
    fuse = Path("/dev/fuse")
    before = stat.S_IMODE(fuse.stat().st_mode)
    try:
        for name, source in (("tree", str(TREE)), ("environment", sys.prefix)):
            (of / name).mkdir()
            subprocess.run(["mount", "--bind", source, of / name], check=True)
            bound.append(of / name)
        fuse.chmod(0o666)
        yield {"python": f"{of}/environment/bin/python", "PYTHONPATH": f"{of}/tree"}
    finally:
        fuse.chmod(before)
        for path in reversed(bound):
            subprocess.run(["umount", "-l", path], check=True)
            path.rmdir()
