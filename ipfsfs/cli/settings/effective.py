"""Effective settings: for each the value that holds, and where it comes from. A flag goes before the environment, that
before the file, and that before the default."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from ipfsfs.cli.settings import file
from ipfsfs.cli.settings.kinds import Choice, File, Kind, Several, Switch
from ipfsfs.cli.settings.table import SETTINGS, Entry, Settings
from ipfsfs.errors import UsageError

Source = Literal["flag", "environment", "file", "default"]


@dataclass(slots=True, frozen=True)
class Found:
    """A value and where it comes from. `where`: the flag, the variable, or the file and line; empty for a default."""

    value: Any
    source: Source
    where: str


@dataclass(slots=True, frozen=True)
class Effective:
    """All settings. `file`: the configuration file that was read, if there is one."""

    settings: Settings
    found: Mapping[str, Found]
    file: Path | None

    def given(self, source: Source) -> set[str]:
        """The names of the settings that come from there."""
        return {name for name, found in self.found.items() if found.source == source}


class _Value(click.ParamType[Any]):
    """A flag's value, of a kind of setting."""

    def __init__(self, entry: Entry, kind: Kind) -> None:
        self.entry, self.kind, self.name = entry, kind, kind.metavar

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises UsageError."""
        if not isinstance(value, str):
            return value
        return _told(self.entry.flag, self.kind, value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What a shell offers: the words of a choice, and files where one is to be named."""
        if isinstance(self.kind, File):
            return [CompletionItem(incomplete, type="file")]
        words = self.kind.words if isinstance(self.kind, Choice) else ()
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def options(names: Iterable[str] = tuple(SETTINGS)) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options of a command for some settings; the command hands what it is given to `effective`."""
    made: Final = [_option(SETTINGS[name]) for name in names]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(made):
            command = option(command)
        return command

    return add


def _option(entry: Entry) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    help_ = f"{entry.meaning} (default: {entry.unless_set})."
    if isinstance(entry.kind, Switch):
        return click.option(f"{entry.flag}/{entry.without}", entry.name, default=None, help=f"{entry.meaning}.")
    several = isinstance(entry.kind, Several)
    kind = entry.kind.one if isinstance(entry.kind, Several) else entry.kind
    return click.option(
        entry.flag, entry.name, type=_Value(entry, kind), multiple=several, metavar=kind.metavar, help=help_
    )


def effective(given: Mapping[str, object], mountpoint: Path | None) -> Effective:
    """The settings that hold for a view, from the options of the command that runs. Raises UsageError."""
    context = click.get_current_context()
    flags = {name for name in given if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    told = file.read()
    found = {
        name: Found(given[name], "flag", entry.flag) if name in flags else _elsewhere(entry, told, mountpoint)
        for name, entry in SETTINGS.items()
    }
    return Effective(Settings(**{name: one.value for name, one in found.items()}), found, told.path)


def _elsewhere(entry: Entry, told: file.File, mountpoint: Path | None) -> Found:
    """A setting for which there is no flag."""
    text = os.environ.get(entry.environment, "")
    if text.strip():
        return Found(_told(entry.environment, entry.kind, text), "environment", entry.environment)
    written = told.of(entry.name, mountpoint)
    if written is not None:
        return Found(written.value, "file", f"{told.path}, line {written.line}" if written.line else str(told.path))
    return Found(entry.default, "default", "")


def _told(where: str, kind: Kind, text: str) -> object:
    try:
        return kind.from_text(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}", hint=error.hint) from error
