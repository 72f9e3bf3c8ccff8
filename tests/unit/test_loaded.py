"""What a command loads: a user waits for all of it, each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ipfsfs.cli.main import cli
from tests.support.mounted import environment

OFTEN = ("mount", "umount", "status", "ls", "seal", "fsck", "why")


def loaded_by(command: str) -> set[str]:
    """The modules that a command loads before it does anything."""
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from ipfsfs.cli.main import cli; cli.get_command(None, sys.argv[1]); "
         "print(*sys.modules)", command],
        env=environment(), capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return set(said)


@pytest.mark.parametrize("command", OFTEN)
def test_a_command_that_is_run_often_loads_no_event_loop_and_no_other_command(command: str) -> None:
    assert not {"trio", "pyfuse3", "ipfsfs.cli.publish"} & loaded_by(command)


@pytest.mark.parametrize("command", ["status", "log"])
def test_what_shows_how_things_stand_loads_neither_settings_nor_content_nor_the_mounting(command: str) -> None:
    not_needed = {"ipfsfs.cli.settings.table", "ipfsfs.unixfs.reference", "ipfsfs.fuse.mountpoint", "random"}
    assert not not_needed & loaded_by(command)


def test_every_command_is_found() -> None:
    context = cli.make_context("ipfsfs", ["status"])
    names = cli.list_commands(context)
    assert len(names) == len(set(names)) > 25
    for name in names:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name
    assert cli.get_command(context, "no-such") is None
