"""`ipfsfs why`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ipfsfs.cli import render
from ipfsfs.cli.paths import LINKS, PATH, STORE, Links, Target, must_be_ours, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions.why import Question
from ipfsfs.exchange import why as reasons
from ipfsfs.exchange.findings import Recorded, remedy
from ipfsfs.exchange.provenance import Refusal
from ipfsfs.exchange.why import Known, LeavesTold, Why
from ipfsfs.printed import counted, printable


@click.command(
    short_help="Show what a path is, its CID, where it came from, and why it is sealed or not.",
    epilog="Example: ipfsfs why ~/.cache/huggingface/token",
)
@click.argument("path", type=PATH)
@LINKS
@STORE
@click.option(
    "--leaves", is_flag=True, help="List the leaves: the blocks that the file's CID is made of, and their origins."
)
@tells(Form(Why))
def why(path: Path, links: Links, store: Path | None, leaves: bool, as_json: bool) -> None:
    """Show what PATH is (secret, scratch, promise, content), whether it is sealed and why not, and what is wrong.

    Also its size, CID and sha256; and of what was fetched since the view was mounted, which origin served how much,
    and why others did not.
    """
    at = target(path, links, store)
    told: LeavesTold = "all" if leaves else "first"
    if at.mount is not None:
        must_be_ours(at.mount)
    found = _ask(at, told) if at.mount is not None else _look(at, told)
    if as_json:
        tell(found)
        return
    render.facts(_shown(at, found, told))
    if leaves:
        for line in _table(found):
            click.echo(line)


def _shown(at: Target, found: Why, told: LeavesTold) -> dict[str, Any]:
    """The facts a person wants, in words: what it is, whether it is sealed, what is wrong and what to do about it."""
    path = at.root / at.relative
    shown: dict[str, Any] = {"path": str(path), "what": found.what}
    if found.why is not None:
        shown["sealed"] = _sealed(found)
    if found.wrong:
        shown["wrong"] = [line for item in found.wrong for line in _wrong(item, path)]
    if found.checked_by is not None:
        shown["reads"] = render.reads(found.checked_by, found.native, found.native_why)
    if found.identity is not None:
        shown["size"] = render.size(found.identity.size)
    if found.size is not None:
        shown["size"] = render.size(found.size)
        shown["here"] = _here(found.here, found.size)
    shown.update(_origins(found))
    if found.cid is not None:
        shown["CID"] = found.cid
    if found.leaf_count is not None:
        chunker = f" (chunker: {found.chunker})" if found.chunker is not None else ""
        shown["leaves"] = f"{found.leaf_count:,}{chunker}" + ("" if told == "all" else "; --leaves lists them")
    elif found.size is not None and found.cid is not None:
        shown["leaves"] = "not known before the first read"
    if found.sha256:
        shown["sha256"] = found.sha256
    elif found.promised_sha256 is not None:
        shown["promised sha256"] = found.promised_sha256
    return shown


def _here(here: int | None, size: int) -> str:
    if here is None:
        return "not known"
    if here == size:
        return "all of it"
    if not here:
        return "nothing of it yet"
    return f"{render.size(here)}, {render.percent(here, size)}"


def _origins(found: Why) -> dict[str, Any]:
    """Where what is here came from, who did not give it and why, what did not come, and who is asked for the rest."""
    shown: dict[str, Any] = {}
    size = found.size or (found.identity.size if found.identity is not None else 0)
    if found.served:
        shown["from"] = [
            f"{one.origin}: {render.size(one.bytes)}, {render.percent(one.bytes, size)}" for one in found.served
        ]
    elif found.served is not None and found.here != 0:
        shown["from"] = "not known: it did not come by its CID since the view was mounted"
    if found.refused:
        shown["not from"] = [_refusal(one) for one in found.refused]
    if found.failure is not None:
        shown["last try"] = f"failed: {found.failure}"
    if found.size is not None and found.cid is not None:
        if found.origins is None:
            shown["origins"] = "not known: nothing is mounted"
        else:
            shown["origins"] = (
                list(found.origins)
                or "none: the view was mounted without --kubo, --gateway and --routing, and with --hub none"
            )
    return shown


def _refusal(refusal: Refusal) -> str:
    times = "" if refusal.times == 1 else f" ({counted(refusal.times, 'time')})"
    return f"{refusal.said}{times}"


def _wrong(item: Recorded, path: Path) -> list[str]:
    return [f"{item.kind.replace('_', ' ')}: {item.what}", remedy(item.kind, path)]


def _sealed(found: Why) -> str:
    if not found.sealed:
        return f"no: {found.why}"
    wrong = {item.kind for item in found.wrong or ()}
    if "broken_promise" in wrong:
        return "yes, as it is now, which is not what its name promises: reads give these bytes, and they are checked"
    if wrong & {"rot", "unreadable"}:
        return "yes, as it was before the disk lost it: reads of what is damaged fail"
    return "yes" if found.leased else f"yes: {found.why}"


def _table(found: Why) -> list[str]:
    """A line for each leaf: where it begins in the file, its length (both in bytes), its CID, and who served it."""
    if not found.leaves:
        return []
    lines = ["", f"{'offset':>15}  {'length':>9}  CID"]
    if any(leaf.origin for leaf in found.leaves):
        lines[-1] += " " * len(found.leaves[0].cid) + "from"
    offset = 0
    for leaf in found.leaves:
        lines.append(f"{offset:>15}  {leaf.length:>9}  {leaf.cid}  {printable(leaf.origin or '')}".rstrip())
        offset += leaf.length
    if found.leaves_not_shown:
        lines.append(f"and {found.leaves_not_shown:,} more")
    return lines


def _ask(at: Target, leaves: LeavesTold) -> Why:
    return ask(at.store, Question(at.path, leaves))


def _look(at: Target, leaves: LeavesTold) -> Why:
    """Without a daemon: from the plain directory and the store."""
    from ipfsfs.cli.opened import Opened  # here: where a daemon is asked, none of this is needed
    from ipfsfs.plain.checked import Checking
    from ipfsfs.store.extents import Extents

    with Opened.at(at) as opened:
        known = Known(
            opened.plain,
            at.root,
            opened.index,
            opened.ledger,
            extents=Extents(opened.store.extents_fd),
            checking=Checking.of(opened.plain.fd),
        )
        return reasons.why(known, at.path, leaves)
