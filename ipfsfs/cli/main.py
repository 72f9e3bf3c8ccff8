"""The command `ipfsfs`: its subcommands, and how errors end."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Any, Final, NoReturn

import click

from ipfsfs import __version__
from ipfsfs.cli.advice import advised
from ipfsfs.cli.help_text import Context, shown_so
from ipfsfs.cli.render import report
from ipfsfs.cli.scripts import Failure, asked_for, tell_failure
from ipfsfs.errors import IpfsfsError
from ipfsfs.printed import program

COMPLETE: Final = "_IPFSFS_COMPLETE"
"""The variable by which a shell asks what may follow on its command line."""
_MODULES: Final = {
    "mount": "mount",
    "umount": "umount",
    "status": "status",
    "log": "log",
    "ls": "ls",
    "seal": "seal",
    "cid": "cid",
    "publish": "publish",
    "unpublish": "unpublish",
    "attach": "attach",
    "prefetch": "prefetch",
    "evict": "evict",
    "pin": "pin",
    "cat": "cat",
    "stat": "stat",
    "exists": "exists",
    "rm": "rm",
    "import": "importing",
    "export": "export",
    "collect": "collect",
    "dedup": "dedup",
    "verify": "verify",
    "restore": "restore",
    "quarantine": "quarantine",
    "fsck": "fsck",
    "why": "why",
    "top": "top",
    "metrics": "metrics",
    "peers": "peers",
    "config": "config",
    "doctor": "doctor",
    "install": "install",
}
"""The module of each command, in the order a user meets them. It is loaded when the command is run, for to load all of
them takes three times as long."""
_JSON: Final = f"{__name__}.json"
"""What a context knows by this name: whether JSON is asked for."""


class Commands(click.Group):
    """The commands of `_MODULES`, before those that were added."""

    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_MODULES, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"ipfsfs.cli.{module}"), _function(cmd_name))
        return shown_so(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; of one that there is not, say which is meant: click knows no names of ours to compare."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = " or ".join(f"'{one}'" for one in get_close_matches(name, self.list_commands(ctx)))
            raise click.UsageError(f"No such command '{name}'." + (f" Did you mean {near}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Before anything is refused, see whether a script asks."""
        ctx.meta[_JSON] = asked_for(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an expected failure ends as one sentence, what to do next, and its exit code. A script that
        asked for JSON has that on stdout as well."""
        as_json = bool(ctx.meta.get(_JSON))
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if as_json:
                tell_failure(Failure("UsageError", error.format_message(), "", error.exit_code))
            raise
        except IpfsfsError as error:
            advised(error)
            if as_json:
                tell_failure(Failure.of(error))
            report(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _interrupted(ctx, as_json)
        except BaseExceptionGroup as group:  # of tasks, one of which was interrupted
            if group.subgroup(KeyboardInterrupt) is None:
                raise
            _interrupted(ctx, as_json)


def _function(command: str) -> str:
    """The name of a command's function."""
    return f"{command}_" if iskeyword(command) else command


def _interrupted(ctx: click.Context, as_json: bool) -> NoReturn:
    if as_json:
        tell_failure(Failure("Interrupted", "interrupted", "", 1))
    click.echo("ipfsfs: interrupted", err=True)
    ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ipfsfs")
def cli() -> None:
    """A checked, content-addressed view over the Hugging Face cache.

    \b
      ipfsfs mount ~/.cache/huggingface
      ipfsfs status
      ipfsfs umount ~/.cache/huggingface

    Programs go on using the directory as before. Beneath the view it stays an ordinary, complete directory: unmount it,
    or kill the daemon, and everything is there.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 in use, 4 content is wrong, 5 no view or no answer, 6 the store
    failed.
    """


def main() -> None:
    """The entry point."""
    try:
        sys.exit(cli(prog_name=program(), complete_var=COMPLETE))
    except (OSError, ExceptionGroup):
        try:
            os.write(1, b"\n")
        except OSError as error:  # it goes to a file on a full disk, say
            if error.errno != errno.EPIPE:  # whoever reads has had enough
                click.echo(f"ipfsfs: what is printed cannot be written: {error.strerror}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for all that is still to be flushed
            sys.exit(IpfsfsError.exit_code)
        raise
