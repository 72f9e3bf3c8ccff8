"""`ipfsfs install`: this checkout's command on PATH, with its manual and the completion of shells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import manual
from ipfsfs.cli.paths import PATH
from ipfsfs.errors import IpfsfsError
from ipfsfs.printed import LAUNCHER, command, printable, shell

_SHARED_BY_ALL: Final = Path("/usr/local")
_LAUNCHER_NAME: Final = Path("mount_scripts/ipfsfs")


@click.command(
    short_help="Put this command on PATH, with its manual and completion.", epilog="Example: ipfsfs install --remove"
)
@click.option("--remove", is_flag=True, help="Take away what `ipfsfs install` has put there.")
@click.option(
    "--prefix",
    type=PATH,
    metavar="DIR",
    help="The directory whose bin and share get it (default: ~/.local; for root /usr/local).",
)
@click.pass_context
def install(context: click.Context, remove: bool, prefix: Path | None) -> None:
    """Put `ipfsfs` on PATH, as a link to this checkout's launcher; its manual where `man` looks; and the completion of
    its command lines where bash, zsh and fish look.

    A file that is not ours is neither replaced nor removed: then nothing is done (exit code 1).
    """
    places = _Places.below(prefix)
    launcher = os.environ.get(LAUNCHER)
    link = None if launcher is None else _Link(places.bin / manual.NAME, Path(launcher), places.option)
    root = context.find_root().command
    files = _files(root, places)
    if remove:
        _remove(link, files, places)
    else:
        _install(link, files, places)


@dataclass(slots=True, frozen=True)
class _Places:
    """Where programs, manuals and completions are looked for."""

    bin: Path
    share: Path
    option: str = ""
    """What names them on our own command line, where they are not the usual ones."""

    @classmethod
    def below(cls, prefix: Path | None) -> _Places:
        if prefix is not None:
            at = prefix.absolute()
            return cls(at / "bin", at / "share", f" --prefix {shell(at)}")
        if os.geteuid() == 0:
            return cls(_SHARED_BY_ALL / "bin", _SHARED_BY_ALL / "share")
        local = Path.home() / ".local"
        return cls(local / "bin", Path(os.environ.get("XDG_DATA_HOME") or local / "share"))

    @property
    def manual(self) -> Path:
        return self.share / "man" / "man1"

    @property
    def zsh(self) -> Path:
        return self.share / "zsh" / "site-functions"

    def completion(self, shell_name: str) -> Path:
        places = {
            "bash": self.share / "bash-completion" / "completions" / manual.NAME,
            "zsh": self.zsh / f"_{manual.NAME}",
            "fish": self.share / "fish" / "vendor_completions.d" / f"{manual.NAME}.fish",
        }
        return places[shell_name]


@dataclass(slots=True, frozen=True)
class _Link:
    """The command on PATH."""

    at: Path
    launcher: Path
    option: str
    """As in `_Places`."""

    @property
    def is_there(self) -> bool:
        return os.path.lexists(self.at)

    def must_be_ours(self) -> None:
        """Raises IpfsfsError where something else is at its place. A link to the launcher of a checkout that is gone
        is of no use to anyone, and taken for ours."""
        if not self.is_there:
            return
        target = Path(os.readlink(self.at)) if self.at.is_symlink() else None
        if target is not None and (
            _same(self.at, self.launcher) or (_is_launcher(target) and not os.path.exists(self.at))
        ):
            return
        raise IpfsfsError(
            f"{self.at} is not this checkout's: it is "
            + ("a file of its own" if target is None else f"a link to {target}"),
            hint=f"To have that removed: {shell(target)} install --remove{self.option}"
            if target is not None and _is_launcher(target)
            else f"Move it away, or choose another directory: {command('install --prefix DIR')}",
        )


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _is_launcher(target: Path) -> bool:
    return target.parts[-2:] == _LAUNCHER_NAME.parts


def _files(root: click.Command, places: _Places) -> dict[Path, str]:
    from ipfsfs.cli.main import COMPLETE  # which loads this module, as it does every command's

    made = {places.manual / name: page for name, page in manual.pages(root).items()}
    scripts = manual.completions(root, COMPLETE)
    return made | {places.completion(shell_name): script for shell_name, script in scripts.items()}


def _install(link: _Link | None, files: dict[Path, str], places: _Places) -> None:
    _all_must_be_ours(link, files)
    try:
        if link is not None:
            link.at.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                link.at.unlink()
            link.at.symlink_to(link.launcher)
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for gone in _others(files, places):
            gone.unlink()
    except OSError as error:
        raise IpfsfsError(f"{error.filename} cannot be written: {error.strerror}") from error
    if link is not None:
        click.echo(f"{printable(str(link.at))} is now a link to {printable(str(link.launcher))}.")
    click.echo(f"The manual is in {printable(str(places.manual))}: man {manual.NAME}")
    click.echo("bash (with the package bash-completion) and fish complete its command lines from now on; zsh after:")
    click.echo(f"  fpath+=({shell(places.zsh)})   in .zshrc, before compinit")
    for line in _of_path(link):
        click.echo(line)
    click.echo(f"To take all of it away: {command('install --remove')}{places.option}")


def _of_path(link: _Link | None) -> list[str]:
    """What keeps the command from being found."""
    if link is None:
        return []
    on_path = [os.path.abspath(part) for part in os.get_exec_path()]
    if str(link.at.parent) not in on_path:
        directory = shell(link.at.parent)
        return [
            f"{directory} is not on your PATH. For this shell, and in ~/.profile for those to come:",
            f'  export PATH={directory}:"$PATH"   (fish: fish_add_path {directory})',
        ]
    found = shutil.which(manual.NAME)
    if found is not None and not _same(Path(found), link.launcher):
        return [f"Another one comes first on your PATH: {printable(found)}"]
    return []


def _remove(link: _Link | None, files: dict[Path, str], places: _Places) -> None:
    _all_must_be_ours(link, files)
    gone = [path for path in [*files, *_others(files, places)] if _is_ours(path)]
    gone += [link.at] if link is not None and link.is_there else []
    try:
        for path in gone:
            path.unlink()
    except OSError as error:
        raise IpfsfsError(f"{error.filename} cannot be removed: {error.strerror}") from error
    _remove_empty(files, places)
    if not gone:
        click.echo(f"Nothing of it is in {printable(str(places.bin))} and {printable(str(places.share))}.")
    elif link is not None and link.at in gone:
        click.echo(f"{printable(str(link.at))} was removed, with the manual and the completion.")
        click.echo(f"The checkout stays, and runs as {shell(link.launcher)}")
    else:
        click.echo(f"The manual and the completion were removed from {printable(str(places.share))}.")


def _remove_empty(files: dict[Path, str], places: _Places) -> None:
    """The directories for completion and manual that hold nothing, as `install` may have made them. Those that are for
    more than one program's use of a kind, `bin`, `share` and `man`, stay."""
    for directory in dict.fromkeys(path.parent for path in files):
        with suppress(OSError):
            directory.rmdir()
            if directory.parent != places.manual.parent:
                directory.parent.rmdir()


def _others(files: dict[Path, str], places: _Places) -> list[Path]:
    """Pages of commands that an earlier version had."""
    found = sorted(places.manual.glob(f"{manual.NAME}-*.1"))
    return [path for path in found if path not in files and _is_ours(path)]


def _all_must_be_ours(link: _Link | None, files: Iterable[Path]) -> None:
    """Raises IpfsfsError where something else, or an edited file, is at one of these places."""
    if link is not None:
        link.must_be_ours()
    for path in files:
        if os.path.lexists(path) and not _is_ours(path):
            raise IpfsfsError(
                f"{path} is not a file of ours, or was edited",
                hint=f"Move it away, or choose another directory: {command('install --prefix DIR')}",
            )


def _is_ours(path: Path) -> bool:
    try:
        return not path.is_symlink() and manual.MARK in path.read_text("utf-8", "replace")
    except OSError:
        return False
