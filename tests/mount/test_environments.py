"""The environments that the launchers make in a checkout: beside each other, and none removed that is in use."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkouts import HeldInstaller, clone, renewed, run
from tests.support.mounted import clear, environment

INSTALLING = "installing the locked Python packages"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone whose launcher has run once."""
    checkout = clone(tmp_path_factory.mktemp("clone") / "a clone")
    first = run([launcher(checkout), "--version"])
    assert first.returncode == 0, first.stderr
    return checkout


@pytest.fixture
def held(installed: Path, tmp_path: Path) -> Iterator[HeldInstaller]:
    own = installed / ".venv.uv" / "bin" / "uv"
    uv = HeldInstaller(tmp_path / "slow", own if own.exists() else Path(str(shutil.which("uv"))))
    yield uv
    uv.close()


def launcher(checkout: Path) -> Path:
    return checkout / "mount_scripts" / "ipfsfs"


def environments(checkout: Path) -> list[Path]:
    return sorted((checkout / ".venv.d").iterdir())


def serves(python: str) -> bool:
    """Whether that Python still finds its packages."""
    return run([python, "-c", "import pyfuse3, trio, ipfsfs.workers"]).returncode == 0


def test_one_command_is_enough_however_often_it_is_given_at_once(tmp_path: Path) -> None:
    checkout = clone(tmp_path / "clone")
    started = [
        subprocess.Popen(
            [launcher(checkout), "doctor", "--json"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [each.communicate(timeout=240) for each in started]
    for stdout, stderr in said:
        assert "findings" in json.loads(stdout), stderr
    assert sum(INSTALLING in stderr for _, stderr in said) == 1


@pytest.mark.root
def test_the_next_start_is_silent_and_needs_no_network(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text("raise SystemExit('somebody else's trio')")
    link = tmp_path / "ipfsfs"
    link.symlink_to(launcher(installed))
    done = run(["unshare", "--net", "--", link, "doctor", "--json"], PYTHONPATH=str(tmp_path))
    assert "findings" in json.loads(done.stdout)
    assert done.stderr == ""


def test_another_lock_file_makes_another_environment(installed: Path) -> None:
    first = run([launcher(renewed(installed)), "--version"])
    assert INSTALLING in first.stderr
    assert run([launcher(installed), "--version"]).stderr == ""
    assert run([installed / ".venv" / "bin" / "python", "-c", "import ipfsfs.cli.main"]).returncode == 0
    assert len(environments(installed)) == 1


def test_commands_go_on_while_the_packages_of_the_tests_are_installed(installed: Path, held: HeldInstaller) -> None:
    with held.installing(installed / "mount_scripts" / "test", "--version") as installation:
        done = run([launcher(installed), "--version"])
        assert (done.returncode, done.stderr) == (0, "")
        assert installation.process.poll() is None


def test_commands_go_on_while_those_of_a_new_lock_file_are_installed(installed: Path, held: HeldInstaller) -> None:
    with held.installing(launcher(renewed(installed)), "--version") as installation:
        done = run([launcher(installed), "--version"])
        assert done.returncode == 0
        assert "being installed by another process: using" in done.stderr
        assert installation.process.poll() is None
        held.go_on()
        assert INSTALLING in installation.said()
    assert run([launcher(installed), "--version"]).stderr == ""


def test_the_second_of_two_installations_waits_and_says_so(tmp_path: Path, held: HeldInstaller) -> None:
    checkout = clone(tmp_path / "clone")
    with held.installing(launcher(checkout), "--version") as installation:
        second = subprocess.Popen(
            [launcher(checkout), "--version"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert second.stderr is not None
        assert select.select([second.stderr], [], [], 60)[0], "it waits, and says nothing"
        assert b"by another process: waiting for its end" in os.read(second.stderr.fileno(), 4096)
        held.go_on()
        assert INSTALLING in installation.said()
        stdout, stderr = second.communicate(timeout=60)
    assert (second.returncode, stderr) == (0, b"")
    assert stdout.startswith(b"ipfsfs, version")


def test_an_interrupted_installation_is_in_nobodys_way(tmp_path: Path, installed: Path, held: HeldInstaller) -> None:
    """Neither of commands for which there is an environment, nor of the next installation."""
    with held.installing(installed / "mount_scripts" / "test", "--version") as installation:
        installation.kill()
    assert list((installed / ".venv.d").glob("*/half a file"))
    done = run([launcher(installed), "--version"])
    assert (done.returncode, done.stderr) == (0, "")
    done = run([launcher(renewed(installed)), "--version"])
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert len(environments(installed)) == 1


def test_what_a_daemon_runs_from_is_kept_until_it_ends(tmp_path: Path, installed: Path, held: HeldInstaller) -> None:
    view = tmp_path / "view"
    view.mkdir()
    try:
        assert run([launcher(installed), "mount", view]).returncode == 0
        (daemon,) = json.loads(run([launcher(installed), "status", "--json", view]).stdout)
        python = Path(f"/proc/{daemon['pid']}/cmdline").read_text().split("\0")[0]
        assert Path(python).is_relative_to(installed / ".venv.d")
        with held.installing(launcher(renewed(installed)), "--version") as installation:
            installation.kill()
        assert serves(python)
        assert INSTALLING in run([launcher(installed), "--version"]).stderr
        assert INSTALLING in run([launcher(renewed(installed)), "--version"]).stderr
        assert serves(python)
        assert len(environments(installed)) == 2  # the one between was in use by nobody
        assert run([launcher(installed), "umount", view]).returncode == 0
        run(["flock", "--wait", "30", f"{view}.ipfsfs/lock", "true"])
    finally:
        clear(view)
    assert INSTALLING in run([launcher(renewed(installed)), "--version"]).stderr
    assert not Path(python).exists()
    assert len(environments(installed)) == 1


def test_a_directory_that_an_earlier_version_installed_into_is_replaced_once_it_is_free(installed: Path) -> None:
    earlier = installed / ".venv"
    made = earlier.resolve()
    earlier.unlink()
    made.rename(earlier)
    for file in ("environment_in_use.py", "environment_in_use.pth"):
        next(earlier.glob(f"lib/*/site-packages/{file}")).unlink()
    with subprocess.Popen([earlier / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as running:
        done = run([launcher(renewed(installed)), "--version"])
        assert INSTALLING in done.stderr
        assert "a process runs from" in done.stderr
        assert (earlier / "bin" / "python").exists()
        assert not earlier.is_symlink()
        done = run([launcher(installed), "--version"])
        assert (done.returncode, done.stderr) == (0, "")
        running.kill()
    assert INSTALLING in run([launcher(renewed(installed)), "--version"]).stderr
    assert earlier.is_symlink()
    assert run([earlier / "bin" / "python", "-c", "import ipfsfs.cli.main"]).returncode == 0
    assert len(environments(installed)) == 1
