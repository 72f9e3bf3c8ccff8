"""Settings: flags before the environment before the file before the default, and a file that is not believed unread."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import pytest
from hypothesis import given as with_any
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ipfsfs.cli.mount import mount
from ipfsfs.cli.settings.kinds import Kind, Several
from ipfsfs.cli.settings.table import SETTINGS, Entry
from ipfsfs.errors import UsageError
from tests.support.checkouts import SCRIPTS, run
from tests.support.settings import OTHER, found, run_config

_OF_THE_MOMENT = {"as_json", "path", "foreground", "force", "adopt"}
"""What concerns one run of `mount`, and is no setting."""


def _toml(entry: Entry) -> str:
    value = OTHER[entry.name][1]
    return f"{entry.name} = {json.dumps(value)}\n"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Writes the configuration file; returns the environment in which it is found."""

    def write(text: str) -> dict[str, str]:
        path = tmp_path / "ipfsfs" / "config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return {"XDG_CONFIG_HOME": str(tmp_path)}

    return write


def test_every_option_of_mount_is_a_setting_and_the_other_way_round() -> None:
    options = {parameter.name for parameter in mount.params}
    assert options - _OF_THE_MOMENT == set(SETTINGS) == set(OTHER)
    for entry in SETTINGS.values():
        (option,) = [parameter for parameter in mount.params if parameter.name == entry.name]
        assert isinstance(option, click.Option)
        assert entry.meaning in (option.help or "")
        assert entry.flag in option.opts
    assert len({entry.environment for entry in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize("entry", SETTINGS.values(), ids=SETTINGS)
def test_s45_flags_go_before_the_environment_before_the_file_before_the_default(
    entry: Entry, file: Callable[[str], dict[str, str]]
) -> None:
    text, value = OTHER[entry.name]
    untouched = found("/srv/view")[entry.name]
    assert (untouched["source"], untouched["where"]) == ("default", "")
    assert untouched["value"] != value

    header = '[view."/srv/view"]\n'
    written = file(f"# a comment\n{header}{_toml(entry)}")
    in_file = found("/srv/view", **written)[entry.name]
    assert (in_file["value"], in_file["source"]) == (value, "file")
    assert in_file["where"].endswith("/ipfsfs/config.toml, line 3")
    assert found("/srv/other", **written)[entry.name]["source"] == "default"

    contrary = file(header + _contrary(entry))
    in_environment = found("/srv/view", **contrary, **{entry.environment: text})[entry.name]
    assert (in_environment["value"], in_environment["where"]) == (value, entry.environment)

    against = {**contrary, entry.environment: "no" if value is True else text.split()[-1]}
    flags = [entry.flag] if value is True else [part for word in _words(entry, text) for part in (entry.flag, word)]
    by_flag = found("/srv/view", *flags, **against)[entry.name]
    assert (by_flag["value"], by_flag["where"]) == (value, entry.flag)


def _words(entry: Entry, text: str) -> list[str]:
    return text.split() if isinstance(entry.kind, Several) else [text]


def _contrary(entry: Entry) -> str:
    """A line of the file that says another thing."""
    if isinstance(entry.kind, Several):
        return f"{entry.name} = []\n"
    others: dict[str, object] = {
        "chunker": "auto",
        "patience": 9,
        "quarantine_size": 5,
        "cache_size": 5,
        "check": "read",
        "scrub": 5,
        "native_from": 5,
        "metrics": "unix:///other",
        "hub": "none",
        "serve": "other:1",
        "peers": "other:1",
        "share": "published",
        "upstream": "/ipns/other",
        "team": "other",
    }
    plain = "/other" if isinstance(OTHER[entry.name][1], str) else False
    return f"{entry.name} = {json.dumps(others.get(entry.name, plain))}\n"


def test_what_is_for_one_view_goes_before_what_is_for_all(
    file: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    environment = file(
        f'patience = 3\nkubo = ["http://127.0.0.1:1"]\n[view."{tmp_path}/link/cache"]\npatience = 4\nkubo = []\n'
    )
    mine, others = found(str(tmp_path / "cache"), **environment), found("/srv/view", **environment)
    assert (mine["patience"]["value"], others["patience"]["value"]) == (4, 3)
    assert (mine["kubo"]["value"], others["kubo"]["value"]) == ([], ["http://127.0.0.1:1"])


def test_the_first_file_of_the_xdg_directories_is_the_only_one(tmp_path: Path) -> None:
    for name, text in (("one", "patience = 1"), ("two", 'patience = 2\nchunker = "fixed"')):
        (tmp_path / name / "ipfsfs").mkdir(parents=True)
        (tmp_path / name / "ipfsfs" / "config.toml").write_text(text)
    both = found(XDG_CONFIG_HOME=str(tmp_path / "none"), XDG_CONFIG_DIRS=f"{tmp_path}/one:{tmp_path}/two")
    assert (both["patience"]["value"], both["chunker"]["value"]) == (1, "auto")
    named = found(XDG_CONFIG_HOME=str(tmp_path / "one"), IPFSFS_CONFIG=str(tmp_path / "two/ipfsfs/config.toml"))
    assert (named["patience"]["value"], named["chunker"]["value"]) == (2, "fixed")
    missing = run_config(IPFSFS_CONFIG=str(tmp_path / "three"))
    assert (missing.exit_code, "No such file" in missing.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patince = 3", 'config.toml, line 1: there is no setting "patince"\nPerhaps "patience" is meant.'),
        ("\nallow-other = true", 'line 2: there is no setting "allow-other"\nPerhaps "allow_other" is meant.'),
        ("patience = 0", 'line 1: "patience": 0 is not a whole number of seconds from 1 to 86400'),
        ('patience = "long"', "line 1: \"patience\": 'long' is not a whole number"),
        ("patience = true", '"patience": True is not a whole number'),
        ("patience = 1e3", '"patience": 1000.0 is not a whole number'),
        ("allow_other = 1", '"allow_other": 1 is not true or false'),
        ('quarantine_size = "much"', "'much' is not a size: write for example 500MB or 16G"),
        ("quarantine_size = -1", "-1 is not a size"),
        ('quarantine_size = "' + "9" * 400 + '"', "is not a size"),
        ('scrub = "7"', "'7' is not a duration from 1s to 365d: write for example 7d, 12h, 30m or 90s"),
        ('scrub = "0s"', "'0s' is not a duration"),
        ('scrub = "53w"', "'53w' is not a duration"),
        ("scrub = 0", "0 is not a duration"),
        ("scrub = true", "True is not a duration"),
        ('check = "never"', "'never' is not one of: read, native"),
        ('chunker = "big"', "'big' is not one of: auto, fixed"),
        ('kubo = ["ftp://x"]', "the address of an origin begins with ftp:"),
        ('kubo = ["http://user:canary@x"]', "holds credentials"),
        ("kubo = [1]", "1 is not the address of an origin"),
        ("kubo = {}", "a table is not a list"),
        ('kubo_authorization_file = "canary"', "what stands there is not an absolute path"),
        ('kubo_authorization_file = "Bearer canary"', "that is a secret, where the path of a file must be"),
        ('hub_token_file = "hf_' + "canary" * 6 + '"', "that is a secret, where the path of a file must be"),
        ('kubo = "http://127.0.0.1:5001?token=canary"', "has a query"),
        ('store = "/srv/store"', 'line 1: "store" is for one view alone\nPut it below a line [view."'),
        ('metrics = "unix:///m"', '"metrics" is for one view alone'),
        ('[view."/v"]\n\nmetrics = "http://192.0.2.1:9"', 'line 3: "metrics": metrics are served on loopback alone'),
        ('[view."/v"]\nmetrics = "https://127.0.0.1:9"', "plain http"),
        ('[view."/v"]\npatince = 3', 'line 2: there is no setting "patince"'),
        ("[view.relative]\npatience = 3", 'line 1: "relative" is no view\nWrite its path: [view."/path"]'),
        ("view = 3", '"view" is not a table'),
        ("[view]\n'/v' = 3", 'line 2: "/v" is no view'),
        ("[section]\npatience = 3", 'line 1: there is no setting "section"'),
        ("patience = 3\npatience = 4", "is no TOML"),
        ("patience 3", "is no TOML: Expected '=' after a key"),
        ("a = " + "[" * 5_000, "is no TOML"),
        ("# " + "x" * 70_000, "is longer than 65,536 bytes"),
        ('"\\u001b[31m" = 3', 'there is no setting "\\x1b[31m"'),
    ],
)
def test_s45_what_is_wrong_in_the_file_is_named_with_its_line_and_what_to_do(
    file: Callable[[str], dict[str, str]], text: str, said: str
) -> None:
    done = run_config(**file(text))
    assert done.exit_code == 2
    assert said in done.output
    assert "config.toml" in done.output
    assert "canary" not in done.output


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("IPFSFS_PATIENCE", "long", "IPFSFS_PATIENCE: 'long' is not a whole number of seconds"),
        ("IPFSFS_ALLOW_OTHER", "perhaps", "IPFSFS_ALLOW_OTHER: 'perhaps' is not true or false"),
        ("IPFSFS_GATEWAYS", "https://a.example nowhere", "IPFSFS_GATEWAYS: the address of an origin has no scheme"),
        ("IPFSFS_METRICS", "http://0.0.0.0:9", "IPFSFS_METRICS: metrics are served on loopback alone"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_by_its_variable(variable: str, value: str, said: str) -> None:
    done = run_config(**{variable: value})
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_s45_a_file_that_others_could_write_is_not_used(file: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    environment = file("patience = 3")
    path = tmp_path / "ipfsfs" / "config.toml"
    for mode in (0o664, 0o646):
        path.chmod(mode)
        done = run_config(**environment)
        assert (done.exit_code, f"chmod go-w {path}" in done.output) == (2, True)


@pytest.mark.parametrize("what", ["fifo", "directory", "socket", "no text"])
def test_what_is_no_file_is_refused_at_once(file: Callable[[str], dict[str, str]], tmp_path: Path, what: str) -> None:
    environment = file("")
    path = tmp_path / "ipfsfs" / "config.toml"
    path.unlink()
    match what:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(path))
        case _:
            path.write_bytes(b"patience = 3 # \xff")
    done = run_config(**environment)
    assert (done.exit_code, str(path) in done.output) == (2, True)


@pytest.mark.root
def test_s45_root_never_uses_another_users_file(file: Callable[[str], dict[str, str]], tmp_path: Path) -> None:
    environment = file("patience = 3")
    path = tmp_path / "ipfsfs" / "config.toml"
    os.chown(path, 4711, 4711)
    done = run_config(**environment)
    assert (done.exit_code, "belongs to user 4711" in done.output) == (2, True), done.output

    os.chown(path, 0, 0)
    os.chown(path.parent, 4711, 4711)  # its owner can put another file there at any moment
    done = run_config(**environment)
    assert (done.exit_code, "another user could put another file in its place" in done.output) == (2, True)

    os.chown(path.parent, 0, 0)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    done = run_config(**environment)
    assert (done.exit_code, "symlink" in done.output) == (2, True)


@with_any(
    st.dictionaries(
        st.sampled_from([*SETTINGS, "view", "other"]),
        st.recursive(
            st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_whatever_the_values_are_they_are_taken_or_refused(values: dict[str, object]) -> None:
    for name, value in values.items():
        if name in SETTINGS:
            kind: Kind = SETTINGS[name].kind
            with suppress(UsageError):
                assert isinstance(kind.shown(kind.from_toml(value)), str)


def test_the_mount_helper_knows_every_setting() -> None:
    """What can stand in fstab: each setting, under its own name."""
    for entry in SETTINGS.values():
        text, value = OTHER[entry.name]
        words = [entry.name] if value is True else [f"{entry.name}={word}" for word in _words(entry, text)]
        done = run([SCRIPTS / "mount.ipfsfs", "none", "/srv/hf", "-fv", "-o", ",".join(words)])
        assert done.returncode == 0, done.stderr
        told = [entry.flag] if value is True else [p for word in _words(entry, text) for p in (entry.flag, word)]
        assert f"mount {' '.join(told)} -- /srv/hf" in done.stderr


@pytest.mark.parametrize("text", ["bafygarbage" * 5, "/ipns/.name", "/ipns/", "/ipfs/Qm/path", "name"])
def test_an_upstream_is_a_cid_or_a_name(text: str) -> None:
    done = run_config(IPFSFS_UPSTREAM=text)
    assert done.exit_code != 0
    assert "neither a CID nor an IPNS name" in done.output
