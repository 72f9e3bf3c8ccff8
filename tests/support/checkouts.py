"""Copies of this checkout in which the launchers install, and an installer that waits until it is told to go on."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.mounted import TREE, environment

SCRIPTS = TREE / "mount_scripts"
_PATIENCE_S = 60

_HELD_UV = """#!/bin/sh
[ "$1" = sync ] || exec {uv} "$@"
mkdir -p "$UV_PROJECT_ENVIRONMENT" && : >"$UV_PROJECT_ENVIRONMENT/half a file"
echo installing >{begun}
read -r word <{gate}
rm "$UV_PROJECT_ENVIRONMENT/half a file"
exec {uv} "$@"
"""


def run(command: Sequence[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a terminal and without what would keep it from mounting."""
    return subprocess.run(
        command,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def clone(into: Path) -> Path:
    """A clone in which nothing was run yet, with what is in the working tree."""
    if (TREE / ".git").exists():
        names = run(["git", "-c", f"safe.directory={TREE}", "-C", TREE, "ls-files", "-z"]).stdout.split("\0")
    else:  # such a copy itself
        names = [str(path.relative_to(TREE)) for path in TREE.rglob("*") if "__pycache__" not in path.parts]
    for name in names:
        if (TREE / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, into / name)
    return into


def renewed(checkout: Path) -> Path:
    """The same checkout after a pull that brought another lock file."""
    with (checkout / "uv.lock").open("a") as lock:
        lock.write("\n")
    return checkout


class Installation:
    """A command that installs, and stands still while it does."""

    def __init__(self, command: Sequence[str | Path], held: HeldInstaller) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment(PATH=f"{held.path}:{os.environ['PATH']}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def kill(self) -> None:
        """Cut it off, with all it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def said(self) -> str:
        """What it said on stderr, once it has ended well."""
        said = self.process.communicate(timeout=_PATIENCE_S)[1]
        assert self.process.returncode == 0, said
        return said

    def end(self) -> None:
        """Leave nothing of it running."""
        if self.process.poll() is None:
            self.kill()


class HeldInstaller:
    """A `uv` that waits, once it has begun to install into a directory, as for a slow network."""

    def __init__(self, path: Path, uv: Path) -> None:
        self.path = path
        path.mkdir()
        begun, self._gate = path / "begun", path / "gate"
        os.mkfifo(begun)
        os.mkfifo(self._gate)
        self._begun = os.open(begun, os.O_RDONLY | os.O_NONBLOCK)
        words = {"uv": uv, "begun": begun, "gate": self._gate}
        (path / "uv").write_text(_HELD_UV.format(**{name: shlex.quote(str(word)) for name, word in words.items()}))
        (path / "uv").chmod(0o755)

    @contextmanager
    def installing(self, *command: str | Path) -> Iterator[Installation]:
        """Start the command; the block is entered once it installs. What still runs at the end of it is killed."""
        installation = Installation(command, self)
        try:
            assert select.select([self._begun], [], [], _PATIENCE_S)[0], "it never began to install"
            os.read(self._begun, 100)
            yield installation
        finally:
            installation.end()

    def go_on(self) -> None:
        """Let the installation that waits go on."""
        self._gate.write_text("go on\n")

    def close(self) -> None:
        """Give its descriptor back."""
        os.close(self._begun)
