"""`ipfsfs pin add`, `pin ls`, `pin rm`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import bars, keepers, pin_elsewhere, render
from ipfsfs.cli.paths import PATH, must_be_ours, target
from ipfsfs.cli.pin_elsewhere import RemoteFacts, Unpinned
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import VIEW, chosen_view
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import cid, pin_add, pin_ls, pin_rm
from ipfsfs.errors import FormatError, IpfsfsError, MountError, UsageError
from ipfsfs.exchange.pins import Listed, Progress
from ipfsfs.origins.settings import OriginSettings
from ipfsfs.printed import command, printable
from ipfsfs.unixfs import cid as cids

_PREFIXES: Final = ("ipfs://", "/ipfs/")

_ELSEWHERE: Final = "with --cluster or --service"
_CLUSTER = click.option("--cluster", is_flag=True, help="Pins of IPFS Cluster, not of this machine.")
_SERVICE = click.option("--service", metavar="NAME", help="Pins of a pinning service, not of this machine.")


@click.group(short_help="Keep content, whatever becomes of its names.")
def pin() -> None:
    """Keep content by CID: it stays here when its files are removed, evicted or overwritten, until it is unpinned."""


@pin.command(
    short_help="Pin a file or tree.", epilog="Example: ipfsfs pin add ~/.cache/huggingface/hub/models--org--name"
)
@click.argument("what", metavar="PATH|CID", type=PATH)
@VIEW
@_CLUSTER
@_SERVICE
@click.option("--no-wait", is_flag=True, help="Do not wait until the cluster or service holds all of it.")
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(1, 7 * 86_400),
    default=3_600,
    metavar="SECONDS",
    help="How long to wait while a cluster or service says nothing new (default: an hour); then exit 1.",
)
@tells(Form(pin_add.Answer), Form(RemoteFacts, when=_ELSEWHERE))
def add(
    what: Path, path: Path | None, cluster: bool, service: str | None, no_wait: bool, wait_s: int, as_json: bool
) -> None:
    """Pin what is at PATH in a mounted view, or what CID (or ipfs://CID) names, wherever it is.

    What is not here is fetched first; where something cannot be had, the block is named, and what came stays. Pinning
    the same again goes on with what is missing. The last line printed is the CID.

    With --cluster or --service the pin is made there, and not here: their nodes fetch the content themselves, so
    publish it first. Both are set in a file: see docs/sharing.md.
    """
    keeper = _keeper(cluster, service)
    if keeper is not None:
        root, name = _root(what)
        pin_elsewhere.add(keeper, root, name, wait_s=0 if no_wait else wait_s, as_json=as_json)
        return
    named = _named(what, path)
    question = (
        pin_add.Question(path=named.path) if named.root is None else pin_add.Question(root=cids.to_text(named.root))
    )
    with bars.bar("Pinning") as bar:

        def show(at: Progress) -> None:
            bar.update(
                files=at.files_done, done_bytes=at.bytes_done, total_files=at.files, total_bytes=at.bytes or None
            )

        done = ask(named.store, question, show)
    if as_json:
        tell(done)
        return
    click.echo(f"Pinned {render.files(done.files)}, {render.size(done.bytes)}.", err=True)
    if done.bytes_copied:
        click.echo(
            f"The store has copies of {render.size(done.bytes_copied)}: its filesystem shares nothing with the cache.",
            err=True,
        )
    click.echo(done.cid)


@pin.command(name="ls", short_help="List the pins.", epilog="Example: ipfsfs pin ls --json")
@VIEW
@_CLUSTER
@_SERVICE
@tells(Form(Listed, is_list=True), Form(RemoteFacts, is_list=True, when=_ELSEWHERE))
def list_(path: Path | None, cluster: bool, service: str | None, as_json: bool) -> None:
    """List the pins of a mounted view, the oldest first; or those of a cluster or service.

    One that is not complete lacks something: pinning it again goes on with that.
    """
    keeper = _keeper(cluster, service)
    if keeper is not None:
        pin_elsewhere.list_(keeper, as_json=as_json)
        return
    pins = ask(chosen_view(path).store, pin_ls.Question()).pins
    if as_json:
        tell(pins)
        return
    if not pins:
        click.echo(f"Nothing is pinned. To pin something: {command('pin add PATH')}")
    for one in pins:
        state = "" if one.complete else f", incomplete: {render.size(one.bytes_here)} of that are here"
        if one.damaged:
            state = f", part of it is damaged; to mend it: {command('pin add')} {one.cid}"
        when = datetime.fromtimestamp(one.when_ns / 1e9, UTC).strftime("%Y-%m-%d")
        click.echo(f"{one.cid}  {render.files(one.files)}, {render.size(one.bytes)}{state}, since {when}")
        if one.path is not None:
            click.echo(f"  {printable(one.path)}")


@pin.command(name="rm", short_help="Unpin.", epilog="Example: ipfsfs pin rm bafybei...")
@click.argument("what", metavar="PATH|CID", type=PATH)
@VIEW
@_CLUSTER
@_SERVICE
@tells(Form(Unpinned))
def remove(what: Path, path: Path | None, cluster: bool, service: str | None, as_json: bool) -> None:
    """Unpin what CID names, or what was pinned at PATH. Files that have names stay; what no name and no other pin holds
    is removed from the store."""
    keeper = _keeper(cluster, service)
    if keeper is not None:
        pin_elsewhere.remove(keeper, _root(what)[0], as_json=as_json)
        return
    named = _named(what, path)
    root = named.root
    if root is None:
        at = os.fsdecode(named.path)
        found = [one for one in ask(named.store, pin_ls.Question()).pins if one.path == at]
        if not found:
            raise UsageError(f"nothing was pinned at {what}", hint=f"To list the pins: {command('pin ls')}")
        root = cids.from_text(found[-1].cid)
    freed = ask(named.store, pin_rm.Question(cids.to_text(root))).freed
    if as_json:
        tell(Unpinned(cids.to_text(root), freed))
    else:
        click.echo(f"Unpinned {cids.to_text(root)}; {render.size(freed)} of disk are free again.")


def _keeper(cluster: bool, service: str | None) -> OriginSettings | None:
    """Whose pins are meant; None for those of this machine. Raises UsageError."""
    if cluster and service is not None:
        raise UsageError("--cluster and --service name two who pin", hint="Ask one after the other.")
    if service is not None:
        return keepers.service(service)
    return keepers.cluster() if cluster else None


def _root(what: Path) -> tuple[bytes, str]:
    """The root that an argument names, and a name for its pin. Raises UsageError, IpfsfsError."""
    root = _cid(str(what))
    if root is not None:
        return root, ""
    at = target(what)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
    must_be_ours(at.mount)
    answer = ask(at.store, cid.Question(at.path))
    if answer.cid is None:
        raise IpfsfsError(f"{what} has no CID now: files in it are being written", hint="Try again later.")
    return cids.from_text(answer.cid), what.name


@dataclass(slots=True, frozen=True)
class _Named:
    """What a command is about: a root as raw CID, else a path from the root of a view."""

    store: Path
    root: bytes | None
    path: bytes = b""


def _named(what: Path, path: Path | None) -> _Named:
    root = _cid(str(what))
    if root is not None:
        return _Named(chosen_view(path).store, root)
    at = target(what)
    if at.mount is None:
        raise MountError(f"{at.root} is not mounted", hint=f"Mount it first: {command('mount', at.root)}")
    must_be_ours(at.mount)
    return _Named(at.store, None, at.path)


def _cid(text: str) -> bytes | None:
    """The CID that an argument is; None where it is a path. Raises UsageError for what looks like a CID and is none."""
    # A path loses the second slash of "ipfs://".
    if text.startswith(("/ipns/", "ipns:/")):
        raise UsageError(
            f"{printable(text)} is a name, which can come to stand for other content; a pin is of a CID",
            hint="To see for which CID it stands now: " + command("stat", "/ipns/" + text.rpartition("/")[2]),
        )
    bare = next((text[len(one) :] for one in (*_PREFIXES, "ipfs:/") if text.startswith(one)), None)
    try:
        found = cids.from_text((text if bare is None else bare).rstrip("/"))
    except FormatError as error:
        if bare is not None:
            raise UsageError(str(error), hint=error.hint) from error
        return None
    return found if cids.codec(found) == cids.RAW else cids.dag_pb_cid(cids.digest(found))
