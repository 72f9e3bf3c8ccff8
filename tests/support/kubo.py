"""A real Kubo to compare with: the binary that `mount_scripts/build-kubo` makes, and a repository for one test run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_VERSION = "0.42.0"


def binary() -> Path:
    """The ipfs binary. Without one the test fails where it could have been built and in CI; elsewhere it is skipped."""
    named = os.environ.get("IPFSFS_TEST_KUBO")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = cache / "ipfsfs-tests" / f"kubo-{_VERSION}" / "ipfs"
    if built.exists():
        return built
    if shutil.which("go") or Path("/usr/local/go/bin/go").exists():
        pytest.fail(f"Kubo is not built: run ./mount_scripts/build-kubo (it would be at {built})", pytrace=False)
    lacking = "no Kubo and no Go toolchain to build it with (1.26.4 or newer), and IPFSFS_TEST_KUBO is not set"
    if os.environ.get("CI"):
        pytest.fail(lacking, pytrace=False)
    pytest.skip(lacking)


class Kubo:
    """An offline repository with the profile unixfs-v1-2025. No daemon runs, and nothing is stored or sent."""

    def __init__(self, repository: Path) -> None:
        self._binary = binary()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(repository.parent),
            "IPFS_PATH": str(repository),
            "IPFS_TELEMETRY": "off",
        }
        self._run("init", "--profile=test,unixfs-v1-2025", "--empty-repo")
        self._run("config", "--json", "Plugins.Plugins.telemetry.Disabled", "true")

    def add(self, path: Path) -> dict[str, str]:
        """What `ipfs add` makes of `path` and of all below it: relative path ("" for `path` itself) to CID.

        Hidden files count, symlinks stay symlinks. Paths are as Kubo prints them, which for names that are not
        printable is an escaped form.
        """
        printed = self._run(
            "add", "--recursive", "--only-hash", "--hidden", "--progress=false", "--offline", "--", str(path)
        )
        found = {}
        for line in printed.splitlines():
            _, cid, shown = line.split(" ", 2)
            found[shown.removeprefix(path.name).removeprefix("/")] = cid
        return found

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self._binary, *arguments], env=self._environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape")
