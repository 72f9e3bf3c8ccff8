"""`ipfsfs peers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import PATH
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.sources import view_of
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.peers import Answer, Question
from ipfsfs.printed import printable
from ipfsfs.workers.fetcher.site_messages import PeerState

_ADDRESS_LEAST: Final = 20


@click.command(
    short_help="Show the machines that share downloads, and how much the origin was spared.",
    epilog="Example: ipfsfs peers ~/.cache/huggingface",
)
@click.argument("path", type=PATH, required=False)
@tells(Form(Answer))
def peers(path: Path | None, as_json: bool) -> None:
    """Show which machines share with the view that PATH lies in, which of them answer (and why others do not), what
    came from which of them, and how much the origin was spared, since the view was mounted.

    \b
    ANSWERS  how long a short question takes, or why there is no answer
    OFFERS   files that it offers, and their size
    GAVE US  what this machine had from it
    GAVE     what all machines had from it since it was mounted

    Each machine is asked now. Without PATH: the view of the current directory, else the only one.
    """
    found = ask(view_of(path, "peers").store, Question())
    if as_json:
        tell(found)
        return
    for line in _lines(found):
        click.echo(printable(line))


def _lines(found: Answer) -> Iterator[str]:
    yield f"{found.mountpoint}, {_serving(found)}"
    yield ""
    if found.listed is None:
        yield "No other machines are named: mount with --peers HOST:PORT,... to have content from them."
    elif not found.peers:
        yield f"--peers {found.listed} names no machine at the moment."
    else:
        width = max(_ADDRESS_LEAST, *(len(state.address) for state in found.peers))
        yield f"{'MACHINE':<{width}}  {'ANSWERS':<10}  {'OFFERS':>20}  {'GAVE US':>9}  {'GAVE':>9}"
        for state in found.peers:
            yield from _state(state, width)
    yield ""
    yield from _spared(found)
    others = [state.address for state in found.peers if state.same_list is False]
    if others:
        yield f"Another list of machines than here: {', '.join(others)}. One list for all asks the origin least."
    if found.peers and found.serves is not None and not any(_may_be_this(state, found.serves) for state in found.peers):
        yield "This machine is not in its own list: others that have the same list do not ask it."


def _may_be_this(state: PeerState, serves: str) -> bool:
    """Whether a machine of the list is this one, or could be: one that does not answer is not known by its word."""
    return state.is_self or not state.answers or state.address == serves


def _serving(found: Answer) -> str:
    if found.serves is None:
        return "serves no other machine (mount --serve)"
    to = "machines with the site's token" if found.has_token else "this machine"
    if found.open:
        to = f"{to}, and what is public to anyone" if found.has_token else "anyone, what is public"
    return f"serves {found.serves} to {to} (share: {found.share})"


def _state(state: PeerState, width: int) -> Iterator[str]:
    answers = "this one" if state.is_self else f"{1000 * state.round_trip_s:.1f} ms" if state.answers else "no"
    offers = f"{render.files(state.blobs)}, {render.size(state.bytes)}" if state.answers else "-"
    gave_us = "-" if state.is_self else render.size(state.gave_bytes)
    gave = render.size(state.has_given) if state.answers else "-"
    line = f"{state.address:<{width}}  {answers:<10}  {offers:>20}  {gave_us:>9}  {gave:>9}"
    yield line if state.is_listed else f"{line}  not in the list"
    if not state.answers:
        again = f"; asked again in {state.paused_s:.0f} s" if state.paused_s >= 1 else ""
        yield f"    {state.why}{again}"


def _spared(found: Answer) -> Iterator[str]:
    origin = found.from_hub + found.from_others + found.downloaded
    yield f"From other machines  {render.size(found.from_peers)}"
    yield f"From the Hub         {render.size(found.from_hub)}"
    yield f"Downloaded           {render.size(found.downloaded)}, by programs themselves"
    if found.from_others:
        yield f"From other origins   {render.size(found.from_others)}"
    yield f"To other machines    {render.size(found.gave)}"
    if found.from_peers:
        share = render.percent(found.from_peers, found.from_peers + origin)
        yield f"The origin was spared {share} of what came to this machine since the view was mounted."
