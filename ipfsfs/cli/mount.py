"""`ipfsfs mount`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli.paths import PATH, mountpoint, must_be_ours
from ipfsfs.cli.render import printable, shell
from ipfsfs.daemon import mounts, outsiders, placing
from ipfsfs.daemon.config import Config
from ipfsfs.daemon.notify import tell_systemd
from ipfsfs.daemon.start import Started, start
from ipfsfs.daemon.switches import skip_reason
from ipfsfs.errors import IpfsfsError, MountError, UsageError

_REPOSITORY: Final = re.compile(r"(models|datasets|spaces|kernels)--.+")
_NAMED_MOST: Final = 8


@click.command(short_help="Mount a view over a cache directory.", epilog="Example: ipfsfs mount ~/.cache/huggingface")
@click.argument("path", type=PATH)
@click.option("--store", type=PATH, help="Where to keep seals and quarantine (default: PATH.ipfsfs, beside PATH).")
@click.option("--foreground", is_flag=True, help="Stay in the foreground and log to stderr, as under systemd.")
@click.option("--force", is_flag=True, help="Mount in CI too, and although others use files beneath.")
@click.option("--allow-other", is_flag=True, help="Let other users in; files belong to who makes them (as root).")
@click.option(
    "--chunker",
    type=click.Choice(["auto", "fixed"]),
    default="auto",
    show_default=True,
    help="auto: leaves of weights begin where tensors do. fixed: 1 MiB, as `ipfs add` with unixfs-v1-2025.",
)
@click.option("--stock-init", is_flag=True, help="Let pyfuse3 negotiate with the kernel: slower, to tell faults apart.")
def mount(
    path: Path, store: Path | None, foreground: bool, force: bool, allow_other: bool, chunker: str, stock_init: bool
) -> None:
    """Mount a view over PATH, a cache directory. It is made where there is none.

    Programs go on using PATH as before. Every file gets a CID and checksums in the background, and every read is
    checked. Beneath the view, PATH stays an ordinary, complete directory.
    """
    reason = skip_reason(os.environ, force=force)
    if reason is not None:
        _nothing_to_do(foreground)
        click.echo(f"ipfsfs: not mounting {printable(str(path))}: {reason}. Everything goes on on plain disk.")
        return
    at = mountpoint(path)
    view = mounts.view_at(at)
    if view is not None and not view.lets_us_in:
        must_be_ours(view)
    if view is not None and mounts.answers(view):
        _nothing_to_do(foreground)
        whose = f" by another user ({view.owner_in_words})" if view.is_anothers else ""
        click.echo(f"{printable(str(at))} is mounted already{whose}, with the store {printable(view.source)}.")
        return
    with _made(at) if view is None else nullcontext():
        if view is None:
            _refuse_while_in_use(at, force)
        config = Config(
            mountpoint=at,
            store=mountpoint(store) if store is not None else placing.default_store(at),
            allow_other=allow_other,
            chunker="fixed" if chunker == "fixed" else "auto",
            negotiate=not stock_init,
        )
        if foreground:
            _serve_here(config)
        else:
            click.echo(_welcome(config, start(config), stale=view is not None))


def _nothing_to_do(foreground: bool) -> None:
    """Under systemd an end without a word of readiness would be a failure, and be tried again."""
    if foreground:
        tell_systemd("READY=1")


@contextmanager
def _made(at: Path) -> Iterator[None]:
    """See that there is a directory to mount over; what was made for that goes again where the mount is refused."""
    around = mounts.view_over(at)
    if around is not None:
        raise MountError(f"{at} lies in the view of {around.mountpoint} already")
    missing = [path for path in (at, *at.parents) if not os.path.lexists(path)]
    try:
        at.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(missing)
        if os.path.islink(at) and not os.path.exists(at):
            raise UsageError(f"{at} is a link to nothing: {os.readlink(at)} is not there") from error
        raise UsageError(f"{at} is no directory, and cannot be made one: {error.strerror}") from error
    try:
        yield
    except IpfsfsError:
        _remove_empty(missing)
        raise


def _remove_empty(directories: list[Path]) -> None:
    """Remove directories, the deepest first, as far as they are there and empty."""
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()


def _refuse_while_in_use(at: Path, force: bool) -> None:
    """See that nobody works on the directory from beneath."""
    others = outsiders.writers_and_locks(at)
    if others and not force:
        lines = "\n".join(f"  {other}" for other in others[:_NAMED_MOST])
        more = f"\n  and {len(others) - _NAMED_MOST} more" if len(others) > _NAMED_MOST else ""
        raise MountError(
            f"files in {at} are in use by programs that would not go through the view:\n{lines}{more}",
            hint="Let them finish, then mount; or mount with --force: what they write is found and sealed later, but "
            "their locks and those taken through the view do not see each other.",
        )


def _serve_here(config: Config) -> None:
    # Imported here: a mount in the background needs none of it in this process.
    from ipfsfs.daemon.__main__ import run

    run(config, lambda running: click.echo(f"serving {config.mountpoint}", err=True), to_file=False)
    sys.exit(0)


def _welcome(config: Config, started: Started, *, stale: bool) -> str:
    at = printable(str(config.mountpoint))
    word = shell(config.mountpoint)
    lines = [f"{at} is mounted."]
    if stale:
        lines.append("(What a daemon that died had left there was cleared away first.)")
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
        "",
        f"  ipfsfs status {word}   how far it is, and whether anything is wrong",
        f"  ipfsfs umount {word}   take the view away",
        "",
        f"Store: {printable(str(config.store))}   Daemon: process {started.pid}",
    ]
    return "\n".join(lines)


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
