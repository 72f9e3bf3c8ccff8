"""What a first user types: the launcher of a checkout, what it says to type next, and `install`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfsfs.cli.manual import MARK
from tests.support.launched import Launched
from tests.support.mounted import TREE, clear


@pytest.fixture
def launched(tmp_path: Path) -> Launched:
    return Launched.make(tmp_path / "a checkout")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "my cache").mkdir()
    yield tmp_path / "my cache"
    clear(tmp_path / "my cache")


class TestHints:
    def test_what_mount_says_to_type_can_be_typed(self, launched: Launched, cache: Path) -> None:
        done = launched.typed(f"./mount_scripts/ipfsfs mount '{cache}'")
        assert done.returncode == 0, done.stderr
        lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ./mount_scripts/ipfsfs ")]
        said = {line.split("   ")[0].split()[1]: line.split("   ")[0] for line in lines}
        assert list(said) == ["status", "umount", "ls"]
        assert "mounted by process" in launched.typed(said["status"]).stdout
        assert launched.typed(said["ls"] + f" --view '{cache}'").returncode == 0
        assert "is the plain directory again" in launched.typed(said["umount"]).stdout

    def test_what_the_daemon_says_can_be_typed_anywhere(self, launched: Launched, cache: Path) -> None:
        launched.typed(f"./mount_scripts/ipfsfs mount '{cache}'")
        with subprocess.Popen(["sleep", "60"], cwd=cache) as user:
            refused = launched.typed(f"./mount_scripts/ipfsfs umount '{cache}'")
            assert refused.returncode == 3
            advice = refused.stderr.rstrip().splitlines()[-1].rpartition(": ")[2]
            done = launched.typed(advice, cwd=Path("/"))
            user.kill()
        assert (done.returncode, advice) == (0, f"'{launched.launcher}' umount --lazy '{cache}'"), done.stderr

    def test_on_path_it_is_called_by_its_name_alone(self, launched: Launched, tmp_path: Path) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "ipfsfs").symlink_to(launched.launcher)
        done = launched.typed("ipfsfs fsck", environ=on(tmp_path))
        assert "For example: ipfsfs fsck " in done.stderr


class TestInstall:
    def install(self, launched: Launched, prefix: Path, *words: str) -> subprocess.CompletedProcess[str]:
        return launched.typed(" ".join(["./mount_scripts/ipfsfs install --prefix", f"'{prefix}'", *words]))

    def test_it_puts_the_command_on_path_and_takes_it_away(self, launched: Launched, tmp_path: Path) -> None:
        prefix = tmp_path / "local"
        done = self.install(launched, prefix)
        assert done.returncode == 0, done.stderr
        assert f"{prefix}/bin is not on your PATH" in done.stdout
        again = launched.typed(f"ipfsfs install --prefix '{prefix}'", environ=on(prefix), cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "not on your PATH" not in again.stdout
        removal = again.stdout.splitlines()[-1].partition(": ")[2]
        assert launched.typed(removal, environ=on(prefix)).returncode == 0
        left = {str(entry.relative_to(prefix)) for entry in prefix.rglob("*")}
        assert left == {"bin", "share", "share/man"}, "which are for other programs as well"
        assert launched.launcher.is_file()

    @pytest.mark.parametrize("place", ["bin/ipfsfs", "share/man/man1/ipfsfs-mount.1"])
    def test_what_is_not_ours_is_neither_replaced_nor_removed(
        self, launched: Launched, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text("another's\n")
        done = self.install(launched, tmp_path)
        assert done.returncode == 1
        assert f"{tmp_path / place} is not" in done.stderr
        assert not (tmp_path / "share" / "fish").exists(), "nothing is done by halves"
        self.install(launched, tmp_path, "--remove")
        assert (tmp_path / place).read_text() == "another's\n"

    def test_where_an_installed_file_was_edited_nothing_is_removed(self, launched: Launched, tmp_path: Path) -> None:
        self.install(launched, tmp_path)
        completion = tmp_path / "share" / "fish" / "vendor_completions.d" / "ipfsfs.fish"
        completion.write_text("mine\n")
        before = sorted(tmp_path.rglob("*"))
        done = self.install(launched, tmp_path, "--remove")
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{completion} is not a file of ours, or was edited" in done.stderr
        assert sorted(tmp_path.rglob("*")) == before

    def test_another_checkouts_command_stays_and_one_of_a_checkout_that_is_gone_goes(
        self, launched: Launched, tmp_path: Path
    ) -> None:
        other = Launched.make(tmp_path / "other")
        assert self.install(other, tmp_path).returncode == 0
        for words in ((), ("--remove",)):
            done = self.install(launched, tmp_path, *words)
            assert done.returncode == 1
            assert f"{other.launcher} install --remove --prefix {tmp_path}" in done.stderr
        assert (tmp_path / "bin" / "ipfsfs").resolve() == other.launcher
        shutil.rmtree(other.checkout)
        assert self.install(launched, tmp_path).returncode == 0
        assert (tmp_path / "bin" / "ipfsfs").resolve() == launched.launcher

    def test_pages_of_commands_that_are_gone_go(self, launched: Launched, tmp_path: Path) -> None:
        pages = tmp_path / "share" / "man" / "man1"
        pages.mkdir(parents=True)
        (pages / "ipfsfs-older.1").write_text(f'.\\" {MARK}\n')
        (pages / "ipfsfs-theirs.1").write_text("another's\n")
        self.install(launched, tmp_path)
        assert not (pages / "ipfsfs-older.1").exists()
        assert (pages / "ipfsfs-theirs.1").exists()

    @pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
    def test_man_shows_every_command(self, launched: Launched, tmp_path: Path) -> None:
        self.install(launched, tmp_path)
        environ = {"MANPATH": f"{tmp_path}/share/man", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
        shown = launched.typed("man ipfsfs-pin-rm", environ=environ)
        assert "ipfsfs pin rm [OPTIONS] PATH|CID" in shown.stdout, shown.stderr
        assert "ipfsfs-umount(1)" in launched.typed("man ipfsfs", environ=environ).stdout
        if shutil.which("groff") is not None:
            faults = launched.typed(f"cat '{tmp_path}'/share/man/man1/*.1 | groff -ww -z -man -Tutf8", environ=environ)
            assert (faults.returncode, faults.stderr) == (0, "")

    def test_bash_completes_commands_options_and_their_values(self, launched: Launched, tmp_path: Path) -> None:
        self.install(launched, tmp_path)
        script = f"""
            PATH='{tmp_path}/bin':$PATH
            source '{tmp_path}/share/bash-completion/completions/ipfsfs'
            for line in "ipfsfs umo" "ipfsfs umount --la" "ipfsfs mount --check na"; do
                COMPREPLY=() COMP_WORDS=($line) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
                _ipfsfs_completion ipfsfs "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
                echo "${{COMPREPLY[@]}}"
            done
        """
        assert launched.typed(script).stdout.split() == ["umount", "--lazy", "native"]

    @pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
    def test_fish_completes_commands(self, launched: Launched, tmp_path: Path) -> None:
        self.install(launched, tmp_path)
        environ = {**on(tmp_path), "XDG_DATA_DIRS": f"{tmp_path}/share"}
        done = launched.typed("fish -c 'complete -C \"ipfsfs umo\"'", environ=environ)
        assert done.stdout.split("\t")[0] == "umount", done.stderr

    @pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
    def test_zsh_finds_the_completion(self, launched: Launched, tmp_path: Path) -> None:
        self.install(launched, tmp_path)
        script = "fpath+=($PLACE); autoload -Uz compinit; compinit -u -D; print ${_comps[ipfsfs]}; autoload +X _ipfsfs"
        done = launched.typed(f"zsh -fc '{script}'", environ={"PLACE": f"{tmp_path}/share/zsh/site-functions"})
        assert (done.returncode, done.stdout) == (0, "_ipfsfs\n"), done.stderr

    def test_completion_installs_nothing(self, tmp_path: Path) -> None:
        shutil.copytree(TREE / "mount_scripts", tmp_path / "mount_scripts")
        for name in ("pyproject.toml", "uv.lock"):
            shutil.copy2(TREE / name, tmp_path / name)
        done = Launched(tmp_path).typed("_IPFSFS_COMPLETE=bash_complete ./mount_scripts/ipfsfs")
        assert (done.stdout, done.stderr) == ("", "")
        assert sorted(os.listdir(tmp_path)) == ["mount_scripts", "pyproject.toml", "uv.lock"]


def on(prefix: Path) -> dict[str, str]:
    """With the command on PATH, and a home of no one."""
    return {"PATH": f"{prefix}/bin:{os.environ['PATH']}", "HOME": str(prefix)}
