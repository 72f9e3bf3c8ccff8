"""The command `ipfsfs`: its subcommands, and how errors end."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from ipfsfs import __version__
from ipfsfs.cli.attach import attach
from ipfsfs.cli.cat import cat
from ipfsfs.cli.cid import cid
from ipfsfs.cli.collect import collect
from ipfsfs.cli.config import config
from ipfsfs.cli.dedup import dedup
from ipfsfs.cli.doctor import doctor
from ipfsfs.cli.evict import evict
from ipfsfs.cli.exists import exists
from ipfsfs.cli.export import export
from ipfsfs.cli.fsck import fsck
from ipfsfs.cli.importing import import_
from ipfsfs.cli.ls import ls
from ipfsfs.cli.metrics import metrics
from ipfsfs.cli.mount import mount
from ipfsfs.cli.pin import pin
from ipfsfs.cli.prefetch import prefetch
from ipfsfs.cli.publish import publish
from ipfsfs.cli.render import message
from ipfsfs.cli.restore import restore
from ipfsfs.cli.rm import rm
from ipfsfs.cli.seal import seal
from ipfsfs.cli.stat import stat
from ipfsfs.cli.status import status
from ipfsfs.cli.top import top
from ipfsfs.cli.umount import umount
from ipfsfs.cli.verify import verify
from ipfsfs.cli.why import why
from ipfsfs.errors import IpfsfsError


class Commands(click.Group):
    """Commands in the order a user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an expected failure ends as one sentence, what to do next, and its exit code."""
        try:
            return super().invoke(ctx)
        except IpfsfsError as error:
            texts = [f"ipfsfs: {error}", *([error.hint] if error.hint else [])]
            click.echo("\n".join(line for text in texts for line in message(text)), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            _interrupted(ctx)
        except BaseExceptionGroup as group:  # of tasks, one of which was interrupted
            if group.subgroup(KeyboardInterrupt) is None:
                raise
            _interrupted(ctx)


def _interrupted(ctx: click.Context) -> NoReturn:
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


for command in (
    mount,
    umount,
    status,
    ls,
    seal,
    cid,
    publish,
    attach,
    prefetch,
    evict,
    pin,
    cat,
    stat,
    exists,
    rm,
    import_,
    export,
    collect,
    dedup,
    verify,
    restore,
    fsck,
    why,
    top,
    metrics,
    config,
    doctor,
):
    cli.add_command(command)


def main() -> None:
    """The entry point."""
    sys.exit(cli())
