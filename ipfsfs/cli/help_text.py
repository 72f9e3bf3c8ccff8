"""Help as it is shown: the commands in it can be pasted, whatever name this program was called by."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import click

from ipfsfs.printed import program

_COMMAND: Final = re.compile(r"(?<![\w/.-])ipfsfs (?=([a-z]+)\b)")
_EXAMPLE: Final = "Example"


class Formatter(click.HelpFormatter):
    """Writes our texts, in which commands begin with `ipfsfs`. Examples are not wrapped: they are to be pasted."""

    def __init__(self, commands: Iterable[str], width: int | None, max_width: int | None) -> None:
        super().__init__(width=width, max_width=max_width)
        self._commands = frozenset(commands)

    def write_text(self, text: str) -> None:
        """A paragraph."""
        if text.startswith(_EXAMPLE):
            self.write(f"{'':>{self.current_indent}}{self._named(text)}\n")
        else:
            super().write_text(self._named(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Options or commands, and what each does."""
        super().write_dl([(name, self._named(does)) for name, does in rows], col_max, col_spacing)

    def _named(self, text: str) -> str:
        return _COMMAND.sub(lambda found: f"{program()} " if found[1] in self._commands else found[0], text)


class Context(click.Context):
    """A command that runs, whose help is written so."""

    def make_formatter(self) -> click.HelpFormatter:
        """See `Formatter`."""
        root = self.find_root()
        names = root.command.list_commands(root) if isinstance(root.command, click.Group) else ()
        return Formatter(names, self.terminal_width, self.max_content_width)


def shown_so(command: click.Command) -> click.Command:
    """A command whose help, and that of its own commands, is written so."""
    command.context_class = Context
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        shown_so(below)
    return command
