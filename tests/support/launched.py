"""A checkout whose launcher runs at once: the Python environment in it is that of the tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ipfsfs.printed import CALLED_AS
from tests.support.mounted import TREE, environment

_PROGRAM = """\
#!/bin/sh
PYTHONPATH={tree} exec {python} -m ipfsfs "$@"
"""
_STAMPED = """\
checkout=$1; source "$checkout/mount_scripts/environment.bash"; { echo; made_from "$checkout/.venv"; }
"""


@dataclass(slots=True, frozen=True)
class Launched:
    """A checkout, from which commands are typed."""

    checkout: Path

    @classmethod
    def make(cls, checkout: Path) -> Launched:
        """Its scripts are those of the tree, its program is the one that is tested."""
        shutil.copytree(TREE / "mount_scripts", checkout / "mount_scripts")
        for name in ("pyproject.toml", "uv.lock"):
            shutil.copy2(TREE / name, checkout / name)
        programs = checkout / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        (programs / "ipfsfs").write_text(
            _PROGRAM.format(tree=shlex.quote(str(TREE)), python=shlex.quote(sys.executable))
        )
        (programs / "ipfsfs").chmod(0o755)
        stamp = subprocess.run(["bash", "-c", _STAMPED, "bash", checkout], check=True, capture_output=True).stdout
        (checkout / ".venv" / "ipfsfs-stamp").write_bytes(stamp)
        return cls(checkout)

    @property
    def launcher(self) -> Path:
        """Where it lies."""
        return self.checkout / "mount_scripts" / "ipfsfs"

    def typed(
        self, line: str, *, cwd: Path | None = None, environ: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Type a line into a shell of somebody who has no other ipfsfs, in the checkout or where `cwd` says."""
        env = environment(**{"PATH": _without_ipfsfs(os.environ["PATH"]), **environ})
        del env["PYTHONPATH"]
        env.pop(CALLED_AS, None)
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 120}
        return subprocess.run(["bash", "-c", line], cwd=cwd or self.checkout, env=env, check=False, **options)


def _without_ipfsfs(path: str) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if not os.path.lexists(os.path.join(part, "ipfsfs")))
