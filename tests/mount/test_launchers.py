"""What stands around the program: the launchers, the systemd units, and what `mount -t ipfsfs` calls."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.fuse import mountpoint
from tests.support.checkouts import SCRIPTS, run
from tests.support.mounted import TREE, Mounted, clear, environment


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [
        path
        for path in (*SCRIPTS.iterdir(), *SCRIPTS.glob("slurm/*"), TREE / ".ci" / "run")
        if path.is_file() and path.suffix != ".py"
    ]
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
        after_stop = command_of(unit, "ExecStopPost", view)
        with dead_mount(view):
            assert run(after_stop).returncode == 0
            assert list(view.iterdir()) == []
        living = Mounted(view).mount()
        assert run(after_stop).returncode == 0
        assert living.mounted
        living.umount()

    @pytest.mark.parametrize("unit", ["ipfsfs.service", "ipfsfs@.service"])
    def test_systemd_learns_when_the_view_answers_and_sigterm_stops_it(self, tmp_path: Path, unit: str) -> None:
        view = tmp_path / "view"
        view.mkdir()
        (view / "file").write_text("content\n")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(30)
            service = subprocess.Popen(
                command_of(unit, "ExecStart", view),
                env=environment(NOTIFY_SOCKET=str(tmp_path / "notify")),
                stderr=subprocess.DEVNULL,
            )
            try:
                assert b"READY=1" in manager.recv(4096)
                assert mounts.view_at(view) is not None
                assert (view / "file").read_text() == "content\n"
                service.send_signal(signal.SIGTERM)
                assert service.wait(30) == 0
                assert mounts.view_at(view) is None
            finally:
                service.kill()
                service.wait()
                clear(view)

    @pytest.mark.parametrize("unit", ["ipfsfs.service", "ipfsfs@.service", "root.conf"])
    def test_a_service_has_the_settings_of_the_file_and_of_its_environment(self, tmp_path: Path, unit: str) -> None:
        text = (SCRIPTS / "systemd" / unit).read_text()
        assert "EnvironmentFile=-%E/ipfsfs/environment\n" in text or unit == "root.conf"
        (tmp_path / "view").mkdir()
        (tmp_path / "ipfsfs").mkdir()
        file = tmp_path / "ipfsfs" / "config.toml"
        file.write_text('patience = 7\nrestart = true\nkubo = ["unix:///nowhere"]\n')
        file.chmod(0o600)
        settings = {"XDG_CONFIG_HOME": str(tmp_path), "IPFSFS_GATEWAYS": "http://127.0.0.1:1"}
        command = [word for word in command_of(unit, "ExecStart", tmp_path / "view") if word != "--allow-other"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.settimeout(30)
            told = environment(NOTIFY_SOCKET=str(tmp_path / "notify"), **settings)
            service = subprocess.Popen(command, env=told, stderr=subprocess.DEVNULL)
            try:
                assert b"READY=1" in manager.recv(4096)
                found = Mounted(tmp_path / "view").status()
                assert (found["patience_s"], found["restart"]) == (7, False), "systemd starts it again"
                assert [one["url"] for one in found["origins"]] == ["unix:///nowhere", "http://127.0.0.1:1"]
                service.send_signal(signal.SIGTERM)
                assert service.wait(30) == 0
            finally:
                service.kill()
                service.wait()
                clear(tmp_path / "view")


def command_of(unit: str, setting: str, view: Path) -> list[str]:
    """The command that systemd would run, with the tests' own ipfsfs."""
    *_, line = [
        line for line in (SCRIPTS / "systemd" / unit).read_text().splitlines() if line.startswith(f"{setting}=")
    ]
    words = shlex.split(line.removeprefix(f"{setting}=").removeprefix("-").replace("$$", "$"))
    here = {
        "%h/.cache/huggingface": [str(view)],
        "%f": [str(view)],
        "ipfsfs": [sys.executable, "-m", "ipfsfs"],
    }
    return [part for word in words for part in here.get(word, [word])]


@contextmanager
def dead_mount(view: Path) -> Iterator[None]:
    """A mount whose daemon is gone: whatever touches it gets ENOTCONN."""
    os.close(mountpoint.mount(view, str(view) + ".ipfsfs", allow_other=False, read_only=False))
    try:
        yield
    finally:
        clear(view)


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
        assert self.said("none", "/srv/hf", "-fv", "-o", "store=/srv/store,force,quarantine_size=1G") == (
            "mount --store /srv/store --force --quarantine-size 1G -- /srv/hf"
        )

    def test_flags_of_the_mount_itself_are_set_after_it(self) -> None:
        assert self.said("none", "/srv/hf", "-fv", "-o", "ro,noexec").split("\n") == [
            "mount -- /srv/hf",
            "mount.ipfsfs: mount -i -o remount,bind,nosuid,nodev,ro,noexec /srv/hf",
        ]

    def test_what_concerns_mount_and_init_is_left_to_them(self) -> None:
        options = "rw,defaults,noauto,user=ann,users,nofail,_netdev,x-systemd.before=x,X-mount.mkdir,comment=x,noatime"
        assert self.said("none", "/srv/hf", "-t", "fuse.ipfsfs", "-fv", "-o", options) == "mount -- /srv/hf"

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["none", "/srv/hf", "-o", "allow_others"], "allow_others"),
            (["none", "/srv/hf", "-o", "chunker=big"], "chunker=big"),
            (["none", "/srv/hf", "-o", "suid"], "suid"),
            (["none", "/srv/hf", "-sfv", "-o", "nofail,x-systemd.automount"], "x-systemd.automount"),
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

    def test_what_it_did_with_its_link_is_said(self, tmp_path: Path) -> None:
        def said(word: str) -> tuple[int, str]:
            done = run([SCRIPTS / "mount.ipfsfs", word], DESTDIR=str(tmp_path))
            return done.returncode, done.stderr.removeprefix("mount.ipfsfs: ")

        link = tmp_path / "sbin" / "mount.ipfsfs"
        assert said("--remove") == (0, f"{link} is not there\n")
        code, words = said("--install")
        assert (code, os.readlink(link)) == (0, str(SCRIPTS / "mount.ipfsfs"))
        assert words.startswith(f"{link} is now a link to {SCRIPTS}/mount.ipfsfs")
        assert said("--remove") == (0, f"{link} was removed\n")
        link.symlink_to("/another/mount.ipfsfs")
        code, words = said("--remove")
        assert (code, link.is_symlink()) == (1, True)
        assert words.startswith(f"{link} is not this checkout's, and stays: ")
        assert "--install" in run([SCRIPTS / "mount.ipfsfs", "--help"]).stdout

    @pytest.mark.root
    def test_a_line_in_fstab_mounts(self, tmp_path: Path) -> None:
        view, said = self.mount_by_fstab(tmp_path, "allow_other,chunker=fixed,ro,noauto,nofail,x-systemd.before=x")
        kind, options, content = said.split()[-3:]
        assert kind == "fuse.ipfsfs"
        assert {"ro", "nosuid", "nodev", "allow_other"} <= set(options.split(","))
        assert content == "content"
        assert (view / "file").read_text() == "content\n"

    @pytest.mark.root
    def test_a_line_in_fstab_mounts_nothing_in_ci(self, tmp_path: Path) -> None:
        _, said = self.mount_by_fstab(tmp_path, "ro", BUILDKITE="true")
        assert "BUILDKITE" in said
        assert "fuse.ipfsfs" not in said
        assert said.endswith("content\n")

    def mount_by_fstab(self, tmp_path: Path, options: str, **environ: str) -> tuple[Path, str]:
        """Mounts, looks and unmounts by mount(8) and umount(8), in a namespace whose /sbin has our link in it."""
        view = tmp_path / "view"
        view.mkdir()
        (view / "file").write_text("content\n")
        store = tmp_path / "store"
        (tmp_path / "fstab").write_text(f"{store} {view} ipfsfs {options} 0 0\n")
        assert run([SCRIPTS / "mount.ipfsfs", "--install"], DESTDIR=str(tmp_path)).returncode == 0
        sbin = os.path.realpath("/sbin")
        script = f"""
            mount -t overlay none -o lowerdir={tmp_path}/sbin:{sbin} {sbin}
            mount -T {tmp_path}/fstab {view}
            findmnt -n -o FSTYPE,OPTIONS --mountpoint {view} || true
            cat {view}/file
            ! mountpoint -q {view} || {{ umount {view}; flock --wait 30 {store}/lock true; }}
        """
        done = run(["unshare", "--mount", "sh", "-ec", script], **environ)
        assert done.returncode == 0, done.stderr
        return view, done.stdout
