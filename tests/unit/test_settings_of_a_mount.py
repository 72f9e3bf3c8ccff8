"""What `mount` makes of settings: paths and secrets that they name, and which a mounted view does not have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ipfsfs.cli.in_force import config_of, lacking, settings_of
from ipfsfs.cli.main import cli
from ipfsfs.cli.settings.kinds import File
from ipfsfs.cli.settings.table import SETTINGS, Settings
from tests.support.settings import OTHER, found


@pytest.mark.parametrize("option", ["--token-file", "--hub-token-file", "--kubo-authorization-file"])
def test_a_secret_that_others_can_read_is_named_with_what_to_do(option: str, tmp_path: Path) -> None:
    secret = tmp_path / "a secret"
    secret.write_text("a token of a site, long enough")
    said = []
    for mode in (0o600, 0o644):
        secret.chmod(mode)
        nowhere = {"CI": "", "XDG_CONFIG_HOME": "/nonexistent", "XDG_CONFIG_DIRS": "/nonexistent"}
        done = CliRunner().invoke(cli, ["mount", str(tmp_path / "no" / "way"), option, str(secret)], env=nowhere)
        assert done.exit_code != 0
        said.append(done.stderr)
    assert "chmod 600" not in said[0]
    assert f"{option} {secret}: other users can read this secret" in said[1]
    assert f"chmod 600 '{secret}'" in said[1]


@pytest.mark.parametrize("option", ["--token-file", "--hub-token-file", "--kubo-authorization-file"])
@pytest.mark.parametrize(
    ("at", "why"), [("", " is a directory\n"), ("missing", "missing cannot be read: No such file or directory\n")]
)
def test_what_holds_no_secret_is_refused_although_nothing_uses_it(
    option: str, at: str, why: str, tmp_path: Path
) -> None:
    nowhere = {"CI": "", "XDG_CONFIG_HOME": "/nonexistent", "XDG_CONFIG_DIRS": "/nonexistent"}
    done = CliRunner().invoke(cli, ["mount", str(tmp_path / "no" / "way"), option, str(tmp_path / at)], env=nowhere)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"ipfsfs: {option}: {tmp_path}")
    assert why in done.stderr
    assert "chmod" not in done.stderr


def test_a_directory_is_no_list_of_peers(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["mount", str(tmp_path / "no" / "way"), "--peers", str(tmp_path)], env={"CI": ""})
    assert (done.exit_code, done.stderr.startswith(f"ipfsfs: --peers: {tmp_path} is a directory\n")) == (2, True)


@pytest.mark.parametrize("name", ["peers", *(name for name, entry in SETTINGS.items() if isinstance(entry.kind, File))])
def test_a_home_directory_is_meant_wherever_a_path_comes_from(name: str, tmp_path: Path) -> None:
    """`--store=~/DIR` reaches us as it is, and so does what is quoted in the environment."""
    entry, home = SETTINGS[name], {"HOME": str(tmp_path)}
    (tmp_path / "config.toml").write_text(f'[view."/srv/view"]\n{name} = "~/a"\n')
    for told in (
        found("/srv/view", f"{entry.flag}=~/a", **home),
        found("/srv/view", **home, **{entry.environment: "~/a"}),
        found("/srv/view", **home, IPFSFS_CONFIG="~/config.toml"),
    ):
        assert told[name]["value"] == f"{tmp_path}/a"


def test_a_home_directory_is_meant_by_an_option_of_another_command_too(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["fsck", "--store=~/a"], env={"HOME": str(tmp_path)})
    assert f"{tmp_path}/a" in done.stderr


@pytest.mark.parametrize("name", ["check", "chunker", "share"])
def test_a_shell_offers_the_words_of_a_choice(name: str) -> None:
    asked = ShellComplete(cli, {}, "ipfsfs", "_IPFSFS_COMPLETE")
    for command in ("mount", "config"):
        offered = [one.value for one in asked.get_completions([command, SETTINGS[name].flag], "")]
        assert offered
        assert SETTINGS[name].kind.metavar == f"[{'|'.join(offered)}]"
        assert asked.get_completions([command, SETTINGS[name].flag], offered[1][:3])[0].value == offered[1]
    assert [one.type for one in asked.get_completions(["mount", "--token-file"], "/etc")] == ["file"]


def test_what_serves_at_one_address_is_not_told_of_lists() -> None:
    said = CliRunner().invoke(cli, ["mount", "--serve=foo", "/nowhere"]).stderr
    assert "'foo' is no HOST:PORT" in said
    assert "dns:" not in said
    assert "dns:" in CliRunner().invoke(cli, ["mount", "--peers=foo", "/nowhere"]).stderr


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_asked_of_a_mounted_view_and_not_so_is_said_of_every_setting(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ipfs_kit_py.py").touch()
    (tmp_path / "token").write_text("hf_of_a_test")
    monkeypatch.syspath_prepend(tmp_path)
    entry = SETTINGS[name]
    value: Any = entry.kind.from_text(str(tmp_path / "token") if name == "hub_token_file" else OTHER[name][0])
    shared = Settings(kubo=("http://127.0.0.1:1",), store=Path("/srv/usual"))
    asked, without = (replace(shared, **{name: one}) for one in (value, entry.default))
    usual = config_of(Path("/srv/view"), without, foreground=False)
    if name == "store":
        usual = replace(usual, store=Path("/srv/usual"))
    (said,) = lacking({name}, asked, settings_of(usual))
    assert said.startswith(f"{entry.flag} ")
    assert not [*lacking(set(SETTINGS) - {name}, asked, settings_of(usual))], "nothing else was asked for"

    like_it = config_of(Path("/srv/view"), asked, foreground=False)
    assert not [*lacking({name}, asked, settings_of(like_it))], "it was mounted so"
