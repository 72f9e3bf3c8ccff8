"""What stands around the program: the launchers, the systemd units, and what `mount -t ipfsfs` calls."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.fuse import mountpoint

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "mount_scripts"


def run(command: list[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
    """Without the caller's environment but for its PATH: no CI marker, no settings of the tests' own environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environ}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [path for path in (*SCRIPTS.iterdir(), ROOT / ".ci" / "run") if path.is_file()]
    checked = run(["shellcheck", "-x", *scripts])
    assert checked.returncode == 0, checked.stdout


class TestUnits:
    @pytest.mark.parametrize("launcher", ["ipfsfs", "a dir/with 100% odd & | $names/ipfsfs"])
    @pytest.mark.parametrize("scope", ["--user", "--system"])
    def test_systemd_finds_nothing_wrong(self, tmp_path: Path, scope: str, launcher: str) -> None:
        checkout = tmp_path / Path(launcher).parent
        shutil.copytree(SCRIPTS, checkout / "mount_scripts")
        path = "/srv/my cache-x"
        installed = run(
            [checkout / "mount_scripts" / "install-units", scope, path],
            DESTDIR=str(tmp_path / "dest"),
            XDG_CONFIG_HOME="/config",
        )
        assert installed.returncode == 0, installed.stderr
        instance = r"ipfsfs@srv-my\x20cache\x2dx.service"
        assert instance in installed.stderr
        units = tmp_path / "dest" / ("config/systemd/user" if scope == "--user" else "etc/systemd/system")
        verify = ["systemd-analyze", scope, "verify", instance]
        verify += ["ipfsfs.service"] if scope == "--user" else []
        # It says on stderr what it finds and still exits 0. It also checks that the launcher is there.
        verified = run(verify, SYSTEMD_UNIT_PATH=f"{units}:", XDG_RUNTIME_DIR=str(tmp_path))
        assert (verified.returncode, verified.stderr) == (0, "")

    def test_the_files_as_they_stand_are_valid(self, tmp_path: Path) -> None:
        for unit in ("ipfsfs.service", "ipfsfs@.service"):
            verified = run(
                ["systemd-analyze", "--user", "verify", SCRIPTS / "systemd" / unit], XDG_RUNTIME_DIR=str(tmp_path)
            )
            assert (verified.returncode, verified.stderr) == (0, "")

    def test_nothing_hides_the_mount_or_disarms_fusermount(self) -> None:
        """Settings that give a service a mount namespace of its own, or imply NoNewPrivileges= for a user's service."""
        hiding = (
            "Private",
            "Protect",
            "ReadOnly",
            "ReadWrite",
            "Inaccessible",
            "Bind",
            "TemporaryFile",
            "Root",
            "Device",
        )
        for unit in SCRIPTS.joinpath("systemd").iterdir():
            keys = [line.split("=")[0] for line in unit.read_text().splitlines() if "=" in line and line[0] != "#"]
            assert not [key for key in keys if key.startswith(hiding)]
            if unit.suffix == ".service":
                assert not [
                    key
                    for key in keys
                    if key.startswith(("NoNew", "SystemCall", "Restrict", "LockPers"))
                    and key != "RestartPreventExitStatus"
                ]

    @pytest.mark.parametrize("unit", ["ipfsfs.service", "ipfsfs@.service"])
    def test_h04_stopping_takes_away_what_is_dead_and_nothing_else(self, tmp_path: Path, unit: str) -> None:
        view = tmp_path / "view"
        view.mkdir()
        assert run(after_stop(unit, view)).returncode == 0
        with dead_mount(view):
            assert run(after_stop(unit, view)).returncode == 0
            assert list(view.iterdir()) == []


def after_stop(unit: str, view: Path) -> list[str | Path]:
    """The command of ExecStopPost=, as systemd would run it, with this environment's ipfsfs."""
    (line,) = [
        line for line in (SCRIPTS / "systemd" / unit).read_text().splitlines() if line.startswith("ExecStopPost=")
    ]
    words = shlex.split(line.removeprefix("ExecStopPost=").replace("$$", "$"))
    here = {"%h/.cache/huggingface": str(view), "%f": str(view), "ipfsfs": str(Path(sys.executable).parent / "ipfsfs")}
    return [here.get(word, word) for word in words]


@contextmanager
def dead_mount(view: Path) -> Iterator[None]:
    """A mount whose daemon is gone: whatever touches it gets ENOTCONN."""
    os.close(mountpoint.mount(view, str(view) + ".ipfsfs", allow_other=False, read_only=False))
    try:
        yield
    finally:
        if os.path.ismount(view) or not os.access(view, os.F_OK):
            mountpoint.unmount(view, lazy=True)


class TestMountHelper:
    """`-fv` says what would be run, and runs nothing: mount(8) defines both."""

    def said(self, *arguments: str) -> str:
        done = run([SCRIPTS / "mount.ipfsfs", *arguments])
        assert done.returncode == 0, done.stderr
        return done.stderr.removeprefix(f"mount.ipfsfs: {SCRIPTS / 'ipfsfs'} ").rstrip("\n")

    @pytest.mark.parametrize("spec", ["none", "ipfsfs"])
    def test_without_options_it_is_a_plain_mount(self, spec: str) -> None:
        assert self.said(spec, "/srv/hf", "-fv") == "mount -- /srv/hf"

    def test_options_become_those_of_the_command(self) -> None:
        assert self.said("none", "/srv/hf", "-fv", "-o", "allow_other,chunker=fixed") == (
            "mount --allow-other --chunker fixed -- /srv/hf"
        )
        assert self.said("/srv/store", "/srv/hf", "-f", "-v") == "mount --store /srv/store -- /srv/hf"
        assert self.said("none", "/srv/hf", "-fv", "-o", "store=/srv/store,force") == (
            "mount --store /srv/store --force -- /srv/hf"
        )

    def test_flags_of_the_mount_itself_are_set_after_it(self) -> None:
        assert self.said("none", "/srv/hf", "-fv", "-o", "ro,noexec").split("\n") == [
            "mount -- /srv/hf",
            "mount.ipfsfs: mount -i -o remount,bind,nosuid,nodev,ro,noexec /srv/hf",
        ]

    def test_what_concerns_mount_and_init_is_left_to_them(self) -> None:
        options = "rw,defaults,noauto,user=ann,users,nofail,_netdev,x-systemd.automount,X-mount.mkdir,comment=x,noatime"
        assert self.said("none", "/srv/hf", "-t", "fuse.ipfsfs", "-fv", "-o", options) == "mount -- /srv/hf"

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["none", "/srv/hf", "-o", "allow_others"], "allow_others"),
            (["none", "/srv/hf", "-o", "chunker=big"], "chunker=big"),
            (["none", "/srv/hf", "-o", "suid"], "suid"),
            (["some/store", "/srv/hf"], "some/store"),
            (["none", "/srv/hf", "-N", "4711"], "-N"),
            (["none", "/srv/hf", "--quick"], "--quick"),
            (["none"], "usage"),
            (["none", "/srv/hf", "-o"], "value"),
        ],
    )
    def test_what_it_cannot_do_it_refuses_by_name(self, arguments: list[str], named: str) -> None:
        done = run([SCRIPTS / "mount.ipfsfs", *arguments])
        assert done.returncode == 1
        assert named in done.stderr
        assert done.stderr.count("\n") == 1

    def test_sloppy_mounts_tolerate_unknown_options(self) -> None:
        assert self.said("none", "/srv/hf", "-sfv", "-o", "allow_others") == "mount -- /srv/hf"

    def test_it_is_installed_where_mount_looks(self, tmp_path: Path) -> None:
        assert run([SCRIPTS / "mount.ipfsfs", "--install"], DESTDIR=str(tmp_path)).returncode == 0
        through_the_link = run([tmp_path / "sbin" / "mount.ipfsfs", "none", "/srv/hf", "-fv"])
        assert f"{SCRIPTS / 'ipfsfs'} mount -- /srv/hf" in through_the_link.stderr
