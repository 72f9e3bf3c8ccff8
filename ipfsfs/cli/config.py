"""`ipfsfs config`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from ipfsfs.cli.paths import PATH, mountpoint
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.settings.effective import Effective, Found, effective, options
from ipfsfs.cli.settings.table import SETTINGS
from ipfsfs.daemon import mounts
from ipfsfs.printed import command, printable


@dataclass(slots=True, frozen=True)
class Setting:
    """A setting: what it is, and where it comes from (`source`: flag, environment, file or default; `where`, in words).
    `default`: in words."""

    name: str
    value: bool | int | str | tuple[str, ...] | None
    unit: str
    source: str
    where: str
    default: str
    flag: str
    environment: str
    meaning: str


@dataclass(slots=True, frozen=True)
class Facts:
    """The configuration file that was read, if any, and all settings."""

    file: Path | None
    settings: tuple[Setting, ...]


@click.command(
    short_help="Show the settings, and where each comes from.",
    epilog="Example: ipfsfs config ~/.cache/huggingface --patience 5",
)
@click.argument("path", type=PATH, required=False)
@options()
@tells(Form(Facts))
def config(path: Path | None, as_json: bool, **given: object) -> None:
    """Show the settings with which `ipfsfs mount PATH` would mount, and where each comes from.

    A flag goes before the environment, that before the configuration file, that before the default. The file is
    ipfsfs/config.toml below XDG_CONFIG_HOME (~/.config), else below a directory of XDG_CONFIG_DIRS (/etc/xdg);
    IPFSFS_CONFIG names another. Its keys are the names shown here. What is for one view goes below a line
    [view."/path/of/the/view"]. A view that is mounted keeps what it was mounted with.
    """
    at = mountpoint(path) if path is not None else None
    chosen = effective(given, at)
    if as_json:
        tell(Facts(chosen.file, tuple(_facts(name, found) for name, found in chosen.found.items())))
        return
    for line in _lines(chosen):
        click.echo(printable(line))
    if at is not None and (view := mounts.view_at(at)) is not None and not view.is_of_another:
        click.echo(f"\n{printable(str(at))} is mounted, and keeps what it was mounted with. To have these settings:")
        click.echo(f"  {command('umount', at)} && {command('mount', at)}")


def _facts(name: str, found: Found) -> Setting:
    entry = SETTINGS[name]
    value = found.value
    if isinstance(value, Path):
        value = str(value)
    return Setting(
        name, value, entry.unit, found.source, found.where, entry.unless_set, entry.flag, entry.environment,
        entry.meaning,
    )  # fmt: skip


def _lines(chosen: Effective) -> list[str]:
    """A table: name, variable of the environment, where the value comes from, and the value, which may be long."""
    rows = [("setting", "environment", "comes from", "value")]
    for name, found in chosen.found.items():
        entry = SETTINGS[name]
        value = entry.unless_set if found.source == "default" else entry.kind.shown(found.value) or "none"
        rows.append((name, entry.environment, found.where or "default", value))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, (*widths, 0), strict=True)) for row in rows]
    return [*lines, "", f"Configuration file: {chosen.file or 'none'}"]
