"""Commands in messages and help begin with what the program was called by, and one function sees to that."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ipfsfs.cli.main import cli
from ipfsfs.printed import CALLED_AS, LAUNCHER, command, lasting_program, program

ROOM = Path(__file__).parents[2] / "ipfsfs"
NAMES = "|".join(cli.list_commands(click.Context(cli)))
WRITTEN = re.compile(rf"\bipfsfs (?:(?:{NAMES})\b|$)")
SHOWN_BY_HELP = {"help", "short_help", "epilog"}


def test_no_message_writes_the_name_itself() -> None:
    """`printed.command` makes a command that is shown; help is given its name when it is shown."""
    found = []
    for path in sorted(ROOM.rglob("*.py")):
        tree = ast.parse(path.read_text())
        exempt = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in SHOWN_BY_HELP:
                exempt |= {id(inner) for inner in ast.walk(node.value)}
            if isinstance(node, ast.Assign | ast.AnnAssign) and "_HELP" in ast.unparse(node).split("=")[0]:
                exempt |= {id(inner) for inner in ast.walk(node)}
        found += [
            f"{path.relative_to(ROOM)}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in exempt
            and WRITTEN.search(node.value)
        ]
    assert not found, "these name a command that may not be on PATH: see ipfsfs.printed.command"


def test_what_the_launcher_says_goes_before_the_file_that_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALLED_AS, "./mount_scripts/ipfsfs")
    assert command("umount", Path("/srv/my cache")) == "./mount_scripts/ipfsfs umount '/srv/my cache'"
    assert command("pin ls") == "./mount_scripts/ipfsfs pin ls"


def test_without_a_launcher_it_is_the_file_that_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(CALLED_AS)
    (tmp_path / "a dir").mkdir()
    script = tmp_path / "a dir" / "ipfsfs"
    script.touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program() == f"'{script}'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "ipfsfs"
    monkeypatch.setattr(sys, "argv", ["/somewhere/ipfsfs/__main__.py"])
    assert program() == f"{sys.executable} -m ipfsfs"


def test_a_daemon_is_told_what_holds_in_every_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCHER, "/src/my ipfsfs/mount_scripts/ipfsfs")
    monkeypatch.setenv(CALLED_AS, "./mount_scripts/ipfsfs")
    assert lasting_program() == "'/src/my ipfsfs/mount_scripts/ipfsfs'"
    monkeypatch.setenv(CALLED_AS, "ipfsfs")
    assert lasting_program() == "ipfsfs"


@pytest.mark.parametrize("words", [["--help"], ["mount", "--help"], ["pin", "rm", "--help"], ["mount", "--nothing"]])
def test_help_and_usage_name_it_too(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    called = "/home/ann/a long way down/mount_scripts/ipfsfs"
    monkeypatch.setenv(CALLED_AS, called)
    shown = CliRunner().invoke(cli, words, prog_name=program()).output
    assert f"Usage: {called} " in shown
    assert called in shown.partition("\n")[2]
    assert not re.search(rf"(?<![\w/])ipfsfs (?:{NAMES})\b", shown), "a command without the way to it"
