"""Commands that are interrupted say so in one line, wherever they are in that moment."""

from __future__ import annotations

import sys

import click
import pytest
import trio
from click.testing import CliRunner

from ipfsfs import __main__ as entry
from ipfsfs.cli.main import Commands


@click.group(cls=Commands)
def group() -> None:
    """Commands that are interrupted."""


@group.command()
def plainly() -> None:
    """Not in a task."""
    raise KeyboardInterrupt


@group.command()
def in_a_task() -> None:
    """In one of several tasks, which trio wraps."""

    async def task() -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task)
            nursery.start_soon(trio.sleep_forever)

    trio.run(main)


@pytest.mark.parametrize("command", ["plainly", "in-a-task"])
def test_it_says_so_and_exits_with_1(command: str) -> None:
    done = CliRunner().invoke(group, [command])
    assert (done.exit_code, done.output) == (1, "ipfsfs: interrupted\n")


def test_it_may_be_while_modules_are_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupts:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "ipfsfs.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "ipfsfs.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupts(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "ipfsfs: interrupted\n"
