"""The configuration file: found, checked and read. What is in it is not believed before that.

`IPFSFS_CONFIG` names it; else it is `ipfsfs/config.toml` in XDG_CONFIG_HOME, and where there is none, in the first of
XDG_CONFIG_DIRS that has one. There is one file: what it does not say, no other one does.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ipfsfs.cli.settings.table import SETTINGS
from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError, UsageError
from ipfsfs.printed import command, printable, shell
from ipfsfs.store.directory import UnsafePlace, open_directory

NAMED_BY: Final = "IPFSFS_CONFIG"
VIEW: Final = "view"
"""The table in which each view has one of its own, by its path."""
KEEPERS: Final = ("cluster", "service")
"""The tables of who pins for others."""
_SIZE_MOST: Final = 1 << 16
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_SHOWN: Final = 60


@dataclass(slots=True, frozen=True)
class Written:
    """A value of the file, checked, and the line it stands in; 0 where that is not found."""

    value: Any
    line: int


@dataclass(slots=True, frozen=True)
class File:
    """A file that was read. `path` is None where there is none. `views`: by the path of a view, what is for it."""

    path: Path | None = None
    values: Mapping[str, Written] = field(default_factory=dict)
    views: Mapping[Path, Mapping[str, Written]] = field(default_factory=dict)
    keepers: Mapping[str, Any] = field(default_factory=dict)
    """The tables of who pins for others, which `ipfsfs.cli.keepers` checks."""

    def of(self, name: str, mountpoint: Path | None) -> Written | None:
        """What the file says of a setting, for a view: what is for that view alone goes first."""
        own = self.views.get(mountpoint, {}) if mountpoint is not None else {}
        return own.get(name) or self.values.get(name)


def read() -> File:
    """The user's file, checked. Raises UsageError, which names the file, the line and what to do."""
    path = _found()
    if path is None:
        return File()
    return parse(path, _read(path))


def parse(path: Path, text: str) -> File:
    """What the text of a file says, whose path errors name. Raises UsageError."""
    try:
        written = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}", hint="Correct that line.") from error
    return _Reading(path, text).file(written)


def usual_path() -> Path:
    """Where a user's file is looked for first."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return Path(home if os.path.isabs(home) else os.path.expanduser("~/.config")) / "ipfsfs" / "config.toml"


def _found() -> Path | None:
    """Where the file is; None where there is none."""
    named = os.environ.get(NAMED_BY)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    elsewhere = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    directories = [one for one in elsewhere.split(":") if os.path.isabs(one)]
    for path in (usual_path(), *(Path(directory) / "ipfsfs" / "config.toml" for directory in directories)):
        _refuse_a_dead_view(path)
        if os.path.lexists(path):
            return path
    return None


def _refuse_a_dead_view(path: Path) -> None:
    """Raises UsageError where a file is in a view whose daemon is dead or hangs, and would never be read."""
    view = mounts.view_over(path)
    if view is None:
        return
    try:
        if mounts.answers(view):
            return
    except MountError:
        pass
    raise UsageError(
        f"{path} is in the view of {view.mountpoint}, whose daemon does not answer",
        hint=f"Unmount that first: {command('umount --lazy', view.mountpoint)}",
    )


def _read(path: Path) -> str:
    """The text. Raises UsageError for a file that is not the user's own, or that others could have written."""
    try:
        fd = _open(path)
    except UnsafePlace as error:
        raise UsageError(
            f"root does not read {path}: another user could put another file in its place", hint=_ROOT
        ) from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a symlink, which root does not follow", hint=_ROOT) from error
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is not a file")
        if found.st_uid not in (os.geteuid(), 0):
            raise UsageError(f"{path} belongs to user {found.st_uid}: another user's settings are not used", hint=_ROOT)
        if found.st_mode & _OTHERS_WRITE:
            raise UsageError(f"other users may write to {path}", hint=f"chmod go-w {shell(path)}")
        data = os.read(fd, _SIZE_MOST + 1)
    finally:
        os.close(fd)
    if len(data) > _SIZE_MOST:
        raise UsageError(f"{path} is longer than {_SIZE_MOST:,} bytes: no configuration is")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8 (at byte {error.start})") from error


_ROOT: Final = f"Name another with {NAMED_BY}, or unset HOME and XDG_CONFIG_HOME if they are another user's."


def _open(path: Path) -> int:
    """For root, only where no other user could put another file in its place. Raises OSError, UnsafePlace."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if os.geteuid() != 0:
        return os.open(path, flags)
    directory = open_directory(path.parent)
    try:
        found = os.fstat(directory)
        if found.st_uid != 0 or (found.st_mode & _OTHERS_WRITE and not found.st_mode & stat.S_ISVTX):
            raise UnsafePlace(str(path))
        return os.open(path.name, flags | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        os.close(directory)


@dataclass(slots=True)
class _Reading:
    """A file while it is checked."""

    path: Path
    text: str

    def file(self, written: Mapping[str, Any]) -> File:
        """The whole file. Raises UsageError."""
        views = written.get(VIEW, {})
        if not isinstance(views, dict):
            raise self._error(
                (), VIEW, f'"{VIEW}" is not a table', 'Write [view."/path/of/the/view"] above its settings.'
            )
        values = self._values((), {name: value for name, value in written.items() if name not in (VIEW, *KEEPERS)})
        keepers = {name: written[name] for name in KEEPERS if name in written}
        return File(self.path, values, dict(self._view(name, told) for name, told in views.items()), keepers)

    def _view(self, name: str, told: object) -> tuple[Path, Mapping[str, Written]]:
        if not isinstance(told, dict) or not name.startswith(("/", "~/")) or "\0" in name:
            raise self._error(
                (VIEW,), name, f"{_short(name)} is no view", 'Write its path: [view."/path"] or [view."~/path"].'
            )
        return _placed(Path(os.path.abspath(os.path.expanduser(name)))), self._values((VIEW, name), told)

    def _values(self, table: tuple[str, ...], told: Mapping[str, object]) -> dict[str, Written]:
        return {name: self._value(table, name, value) for name, value in told.items()}

    def _value(self, table: tuple[str, ...], name: str, value: object) -> Written:
        entry = SETTINGS.get(name)
        if entry is None:
            raise self._error(table, name, f"there is no setting {_short(name)}", _like(name))
        if entry.scope == "one view" and not table:
            raise self._error(
                table, name, f'"{name}" is for one view alone', f'Put it below a line [{VIEW}."/path/of/the/view"].'
            )
        try:
            return Written(entry.kind.from_toml(value), _line(self.text, table, name))
        except UsageError as error:
            raise self._error(table, name, f'"{name}": {error}', error.hint or f"{entry.meaning}.") from error

    def _error(self, table: tuple[str, ...], name: str, what: str, hint: str) -> UsageError:
        line = _line(self.text, table, name)
        at = f", line {line}" if line else f" (in [{'.'.join(map(_short, table))}])" if table else ""
        return UsageError(f"{self.path}{at}: {what}", hint=hint)


def _placed(path: Path) -> Path:
    """A view's path without symlinks, as it is known to commands. What lies in a view is not looked at: its daemon may
    be dead, or hang."""
    return path if mounts.view_over(path) is not None else Path(os.path.realpath(path))


def _short(name: str) -> str:
    return f'"{printable(name[:_SHOWN])}"'


def _like(name: str) -> str:
    near = difflib.get_close_matches(name.replace("-", "_")[:_SHOWN], list(SETTINGS), 1)
    see = f"To see all settings: {command('config')}"
    return f'Perhaps "{near[0]}" is meant. {see}' if near else see


def _line(text: str, table: tuple[str, ...], name: str) -> int:
    """The line of a key, or of a table's header, from 1; 0 where it is not found, as a key in an inline table."""
    current: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            current = _header(line)
            if current == (*table, name):
                return number
        elif current == table and (key := re.match(r"""\s*["']?([^"'=\s]+)["']?\s*=""", line)) and key[1] == name:
            return number
    return 0


def _header(line: str) -> tuple[str, ...]:
    """The names in the header of a table; none where it is no header."""
    try:
        found: object = tomllib.loads(line)
    except (ValueError, RecursionError):
        return ("",)
    names = []
    while isinstance(found, dict) and len(found) == 1:
        ((name, found),) = found.items()
        names.append(str(name))
    return tuple(names)
