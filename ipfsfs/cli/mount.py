"""`ipfsfs mount`."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ipfsfs.cli.in_force import config_of, lacking, settings_of
from ipfsfs.cli.mounting import Facts
from ipfsfs.cli.paths import PATH, mountpoint, must_be_ours
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.settings.effective import Effective, effective, options
from ipfsfs.cli.settings.named_files import looked_at
from ipfsfs.cli.teaming import Teaming
from ipfsfs.cli.usual import cache_home, hub_home, moved
from ipfsfs.daemon import mounts, outsiders, placing
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.notify import tell_systemd
from ipfsfs.daemon.questions import mounted_with
from ipfsfs.daemon.questions.status import Question
from ipfsfs.daemon.start import Started, start
from ipfsfs.daemon.switches import skip_reason
from ipfsfs.errors import InUse, IpfsfsError, MountError, StoreBusy, UsageError
from ipfsfs.printed import command, printable, shell

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

_REPOSITORY: Final = re.compile(r"(models|datasets|spaces|kernels)--.+")
_NAMED_MOST: Final = 8
_PATIENCE_S: Final = 5.0
_ANOTHERS_S: Final = 10.0
"""How long another `mount` of the same path, which has the store, is waited for, after the daemon's wait for that."""


@click.command(short_help="Mount a view over a cache directory.", epilog="Example: ipfsfs mount ~/.cache/huggingface")
@click.argument("path", type=PATH, required=False)
@options()
@click.option("--foreground", is_flag=True, help="Stay in the foreground and log to stderr, as under systemd.")
@click.option("--force", is_flag=True, help="Mount also in CI, and while other programs have files below PATH open.")
@click.option("--adopt", is_flag=True, help="With --team: give files to the group that were made without it, too.")
@tells(Form(Facts))
def mount(path: Path | None, foreground: bool, force: bool, adopt: bool, as_json: bool, **given: object) -> None:
    """Mount a view over PATH, a cache directory. PATH is made if it does not exist; the directories above it are not,
    but for ~/.cache (XDG_CACHE_HOME). Without PATH it is the cache of Hugging Face clients: HF_HOME, else
    ~/.cache/huggingface.

    Programs go on using PATH as before. Every file gets a CID and checksums in the background; from then on, reads
    of it are checked. Beneath the view, PATH stays an ordinary, complete directory.

    Each option but --foreground, --force, --adopt and --json is a setting: it can stand in the environment and in the
    configuration file as well (see `ipfsfs config`).
    """
    if given["restart"] and foreground:
        raise UsageError(
            "--restart needs a daemon in the background: with --foreground, what started it can start it again"
        )
    path = path if path is not None else _usual()
    reason = skip_reason(os.environ, force=force)
    if reason is not None:
        if foreground:  # under systemd an end without a word of readiness would be a failure, and be tried again
            tell_systemd("READY=1")
        if as_json:
            tell(Facts(mountpoint(path), mounted=False, new=False, skipped=reason))
        else:
            click.echo(f"ipfsfs: not mounting {printable(str(path))}: {reason}. Programs use the plain directory.")
        return
    if Path(os.path.abspath(path)) == hub_home():
        _prepare_usual()
    at = mountpoint(path)
    chosen = effective(given, at)
    view = mounts.view_at(at)
    if view is not None and not view.lets_us_in:
        must_be_ours(view)
    answers = view is not None and mounts.answers(view)
    for line in looked_at(chosen):
        click.echo(f"ipfsfs: {printable(line)}", err=True)
    config = config_of(at, chosen.settings, foreground=foreground)
    if "scrub" in chosen.given("flag") and config.check != "native":
        click.echo("ipfsfs: --scrub does nothing without --check native: every read is checked", err=True)
    team = Teaming.of(config.team, at, adopts=adopt)
    if view is not None and answers:
        if foreground:
            _refuse_to_supervise(view)
        _leave(config, chosen, view, team if adopt else None, as_json)
        return
    with _made(at) if view is None else nullcontext(False) as made:
        placing.refuse_what_cannot_be_covered(at, config.store)
        if view is None:
            _refuse_while_in_use(at, force)
            if team is not None:
                team.prepare(made=made)
        if foreground:
            if team is not None:
                click.echo("\n".join(team.words(team.before_serving())), err=True)
            _serve_here(config, as_json)
            return
        with team.beneath() if team is not None else nullcontext(None) as plain:
            try:
                started = start(config)
            except (MountError, StoreBusy) as error:
                quicker = mounts.appears(at, _ANOTHERS_S if isinstance(error, StoreBusy) else 0)
                if quicker is None:
                    raise
                _leave(config, chosen, quicker, team if adopt else None, as_json)
                return
            _say_new(config, started, stale=view is not None, made=made, as_json=as_json)
            _say_how_read(config, started)
            if team is not None and plain is not None:
                # What is mended in the view keeps its seal; only to look takes less beneath it.
                found = team.adopt() if adopt else team.look(plain)
                click.echo("\n" + "\n".join(team.words(found)), err=as_json)


def _usual() -> Path:
    """The cache that is meant where none is named; says which that is, and why."""
    at = hub_home()
    why = "HF_HOME says so" if os.environ.get("HF_HOME") else "the usual place of a Hugging Face cache"
    click.echo(f"ipfsfs: no PATH is named: {printable(str(at))}, {why}", err=True)
    return at


def _prepare_usual() -> None:
    """See to the home of caches, which any program makes for itself; say what is kept elsewhere, and has no view."""
    if not os.environ.get("HF_HOME"):
        with suppress(OSError):  # then it is said of the cache that it cannot be made
            cache_home().mkdir(0o700, parents=True, exist_ok=True)
    for name, elsewhere in moved().items():
        if mounts.view_over(elsewhere) is None:
            told = f"programs use that directory instead. To mount it: {command('mount', elsewhere)}"
            click.echo(f"ipfsfs: {name}={printable(str(elsewhere))}: {told}", err=True)


def _say_new(
    config: Config, started: Started, *, stale: bool = False, made: bool = False, as_json: bool = False
) -> None:
    if not as_json:
        click.echo(_welcome(config, started, stale=stale, made=made))
        return
    if made:
        click.echo(f"ipfsfs: {_MADE.format(printable(str(config.mountpoint)))}", err=True)
    at, store = config.mountpoint, config.store
    tell(Facts(at, True, True, "", store, started.pid, os.geteuid(), started.degraded))


def _leave(config: Config, chosen: Effective, view: mounts.Mount, adopting: Teaming | None, as_json: bool) -> None:
    """Change nothing of a view that is mounted, but the files that the group lacks."""
    _say_mounted(config, chosen, view, as_json)
    if adopting is not None:
        _adopt_in(adopting, view, as_json)


def _adopt_in(team: Teaming, view: mounts.Mount, as_json: bool) -> None:
    """Mend the files of a view that is mounted. Raises MountError where it is not for this group."""
    if view.is_of_another or ask(view.store, Question(), patience_s=_PATIENCE_S).team != team.group:
        raise MountError(
            f"{team.at} is not mounted for the group {team.group}: nothing was given to it",
            hint=f"Unmount it first, and mount it again: {command('umount', team.at)}",
        )
    click.echo("\n".join(team.words(team.adopt())), err=as_json)


def _say_mounted(config: Config, chosen: Effective, view: mounts.Mount, as_json: bool) -> None:
    """Nothing is changed; what was asked for and is not so is named."""
    if as_json:
        pid, degraded, differing = None, "", list[str]()
        if not view.is_of_another:
            status = ask(view.store, Question(), patience_s=_PATIENCE_S)
            pid, degraded, differing = status.pid, status.degraded, _differing(config, chosen, view)
        tell(Facts(config.mountpoint, True, False, "", view.store, pid, view.owner, degraded, tuple(differing)))
        return
    whose = f" by another user ({view.owner_in_words})" if view.is_of_another else ""
    at = printable(str(config.mountpoint))
    click.echo(f"{at} is mounted already{whose}, with the store {printable(view.source)}.")
    if view.is_of_another:
        return
    differing = _differing(config, chosen, view)
    for line in differing:
        click.echo(f"  {printable(line)}")
    if differing:
        click.echo(f"To have that changed, unmount it first: {command('umount', config.mountpoint)}")


def _differing(config: Config, chosen: Effective, view: mounts.Mount) -> list[str]:
    """What was asked for on the command line and is not so in a view that is mounted."""
    given = chosen.given("flag")
    if not given:
        return []
    try:
        mounted = ask(view.store, mounted_with.Question(), patience_s=_PATIENCE_S)
    except IpfsfsError as error:
        return [f"Its daemon does not say how it was mounted: {error}"]
    asked = dataclasses.replace(chosen.settings, store=config.store)
    return list(lacking(given, asked, settings_of(mounted)))


def _say_how_read(config: Config, started: Started) -> None:
    if config.check == "native" and started.not_native:
        why = printable(started.not_native)
        click.echo(f"ipfsfs: --check native does nothing here, every read is checked: {why}", err=True)


def _refuse_to_supervise(view: mounts.Mount) -> None:
    """Raises UsageError: what starts a daemon in the foreground relies on its end, and a try again ends as this one."""
    whose = view.owner_in_words if view.is_of_another else "another process"
    raise UsageError(
        f"{view.mountpoint} is mounted already by {whose}, with the store {view.source}: nothing is mounted here, and "
        "nothing would start that again",
        hint=f"To have it mounted by this command or unit, first: {command('umount', view.mountpoint)}",
    )


@contextmanager
def _made(at: Path) -> Iterator[bool]:
    """See that there is a directory to mount over; where it was made for that it goes again if the mount is refused.
    Yields whether it was."""
    around = mounts.view_over(at)
    if around is not None:
        raise MountError(
            f"{at} lies in the view of {around.mountpoint}, which covers it already",
            hint=f"To mount here instead, first: {command('umount', around.mountpoint)}",
        )
    try:
        at.mkdir()
        made = True
    except FileNotFoundError as error:
        missing = [path for path in at.parents if not os.path.lexists(path)]
        if not missing:
            raise UsageError(f"{at} cannot be made: {error.strerror}") from error
        raise UsageError(
            f"{at} cannot be mounted over: {missing[-1]} does not exist",
            hint=f"If the path is right, make it first: mkdir -p {shell(at)}",
        ) from error
    except OSError as error:
        if os.path.islink(at) and not os.path.exists(at):
            raise UsageError(f"{at} is a link to {os.readlink(at)}, which does not exist") from error
        if os.path.lexists(at) and not os.path.isdir(at):
            raise UsageError(f"{at} is not a directory") from error
        if not os.path.isdir(at):
            raise UsageError(f"{at} does not exist and cannot be made: {error.strerror}") from error
        made = False
    try:
        yield made
    except IpfsfsError:
        if made:
            with suppress(OSError):
                at.rmdir()
        raise


def _refuse_while_in_use(at: Path, force: bool) -> None:
    """See that nobody works on the directory from beneath."""
    others = outsiders.writers_and_locks(at)
    if others and not force:
        lines = "\n".join(f"  {other}" for other in others[:_NAMED_MOST])
        more = f"\n  and {len(others) - _NAMED_MOST} more" if len(others) > _NAMED_MOST else ""
        raise InUse(
            f"files in {at} are in use by programs that would not go through the view:\n{lines}{more}",
            hint=f"End them and mount again. Or: {command('mount --force', at)}\n  What they write is then found and "
            "sealed later; their locks do not exclude locks taken through the view.",
        )


def _serve_here(config: Config, as_json: bool) -> None:
    # Imported here: a mount in the background needs none of it in this process.
    from ipfsfs.daemon.__main__ import run

    def say(running: Running) -> None:
        click.echo(f"serving {config.mountpoint}", err=True)
        started = Started.of(running)
        _say_how_read(config, started)
        if as_json:
            _say_new(config, started, as_json=True)

    run(config, say, to_file=False)
    sys.exit(0)


_ELSEWHERE: Final = (
    "  Files that are attached by their CID come when they are read, and become ordinary files;",
    "  what has not come yet is a link there that names its content.",
)


_MADE: Final = "{} was not there, and was made"
"""For who mistyped a path."""


def _welcome(config: Config, started: Started, *, stale: bool, made: bool) -> str:
    at = printable(str(config.mountpoint))
    lines = [f"{at} is mounted."]
    if stale:
        lines.append("(The mount of a daemon that had died was removed first.)")
    if made:
        away = command("umount", config.mountpoint)
        lines.append(f"({_MADE.format('The directory')}. If its path is mistyped: {away})")
    lines += ["", _found(config.mountpoint)]
    if started.degraded:
        lines += ["", f"Degraded: {started.degraded}", "Files are served, but neither sealed nor checked."]
    lines += [
        "",
        "What happens next",
        "  Programs use the directory as before; nothing needs to be configured.",
        "  Files get their CIDs and checksums in the background, when the machine has time;",
        "  from then on every read of them is checked.",
        f"  Underneath, {at} stays an ordinary, complete directory:",
        "  after `umount`, or if the daemon dies, everything is there.",
        *_ELSEWHERE * bool(config.origins),
        "",
        *_next_commands(config.mountpoint),
        "",
        f"Store: {printable(str(config.store))}   Daemon: process {started.pid}",
    ]
    return "\n".join(lines)


def _next_commands(at: Path) -> Iterator[str]:
    told = {
        command("status", at): "how much is sealed, and whether anything is wrong",
        command("umount", at): "unmount it",
        command("ls"): "which models and datasets are in it, and how much of each is here",
    }
    width = max(map(len, told))
    for typed, does in told.items():
        yield f"  {typed:<{width}}   {does}"


def _found(at: Path) -> str:
    """What is in the cache, in one line; looks at one or two directories only, however much there is."""
    counts: dict[str, int] = {}
    for directory in (at, at / "hub"):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if (match := _REPOSITORY.fullmatch(name)) is not None:
                counts[match[1]] = counts.get(match[1], 0) + 1
    if not counts:
        return "Found no models or datasets yet: what is downloaded from now on is sealed as it arrives."
    parts = [f"{count} {kind if count != 1 else kind.removesuffix('s')}" for kind, count in sorted(counts.items())]
    return f"Found {', '.join(parts)}."
