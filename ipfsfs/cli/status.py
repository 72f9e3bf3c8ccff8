"""`ipfsfs status`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from ipfsfs.cli import render, stores
from ipfsfs.cli.aftermath import Aftermath
from ipfsfs.cli.anothers import ask_another, in_their_words
from ipfsfs.cli.paths import PATH, STORE, mountpoint, must_answer_us, must_be_directory, must_be_its_store
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.cli.standing import DIED, Anothers, Dead, Facts, Found, Living, NotMounted, Unasked, facts_of, revive, wrong
from ipfsfs.daemon import mounts, register
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.questions.status import Answer, Question, Served
from ipfsfs.errors import IpfsfsError, MountError
from ipfsfs.printed import command, counted, printable
from ipfsfs.view.upkeep.scrubbed import Scrubbed

_PATIENCE_S: Final = 5.0
_WATCH_S: Final = 2.0
_ANOTHERS_S: Final = 5.0
"""How long another user's daemon may take in all, whatever it says meanwhile."""


@click.command(
    short_help="Show what is mounted, and whether anything is wrong.", epilog="Example: ipfsfs status --json"
)
@click.argument("path", type=PATH, required=False)
@click.option(
    "--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C; with --json, each time in one line."
)
@STORE
@tells(Form(Facts, is_list=True))
def status(path: Path | None, watch: bool, store: Path | None, as_json: bool) -> None:
    """Show what is mounted, how much of it is sealed, and whether anything is wrong.

    Without PATH: every view of this user (for root: of every user), and every view that is not mounted any more whose
    daemon ended without a command to unmount, or still serves open files. Exit code 1 if anything is wrong: a file has
    wrong content, a view goes on without checks, or its daemon ended in that way or does not answer. What to do about
    it is said.
    """
    is_well = _watch(path, store, as_json) if watch else _show(path, store, as_json)
    if not is_well:
        raise SystemExit(IpfsfsError.exit_code)


def _watch(path: Path | None, store: Path | None, as_json: bool) -> bool:
    """Show it again and again until Ctrl-C. Returns whether all was well at last."""
    is_well = True
    with suppress(KeyboardInterrupt):
        while True:
            if sys.stdout.isatty() and not as_json:
                click.clear()
            is_well = _show(path, store, as_json, in_a_line=True)
            if not as_json:
                click.echo()
            sys.stdout.flush()
            time.sleep(_WATCH_S)
    return is_well


def _show(path: Path | None, store: Path | None, as_json: bool, *, in_a_line: bool = False) -> bool:
    """Look once, and print what is found. Returns whether all is well."""
    if path is not None:
        found = [_of(_named(path, as_json), store)]
    else:
        found = [_of(view.mountpoint) for view in mounts.views() if not view.is_anothers] + _gone()
    if as_json:
        tell([facts_of(one) for one in found], in_a_line=in_a_line)
    elif found:
        render.facts([_shown(one) for one in found])
    else:
        click.echo(f"Nothing is mounted. Mount a cache with: {command('mount')}")
    return not any(wrong(one) for one in found)


def _named(path: Path, as_json: bool) -> Path:
    """The mount point of the view that a path lies in, else the path."""
    at = mountpoint(path)
    view = mounts.view_over(at)
    if view is None:
        must_be_directory(at)
        return at
    if view.mountpoint != at and not as_json:
        click.echo(printable(f"{at} lies in the view of {view.mountpoint}."))
    return view.mountpoint


def _gone() -> list[Found]:
    """Views of ours that are mounted no more, and of which there is something to say."""
    mounted = {view.mountpoint for view in mounts.views()}
    found = [
        NotMounted(entry.mountpoint, entry.store, Aftermath.of(entry.store))
        for entry in register.entries()
        if entry.mountpoint not in mounted and stores.of(entry.mountpoint).store == entry.store
    ]
    return [one for one in found if one.left.ended is not None or one.left.going_on]


def _of(at: Path, named: Path | None = None) -> Found:
    view = mounts.view_at(at)
    if view is None:
        return _of_plain(at, named)
    must_be_its_store(view, named)
    left = Aftermath() if view.is_of_another else Aftermath.of(view.store)
    try:
        must_answer_us(view)
        if view.is_of_another:
            return Anothers(view, ask_another(view, Question(), patience_s=_ANOTHERS_S, in_all_s=_ANOTHERS_S), left)
        return Living(ask(view.store, Question(), patience_s=_PATIENCE_S), left)
    except IpfsfsError as error:
        if not view.is_of_another and _is_dead(view):
            return Dead(at, view.source, left)
        advice = error.hint or f"{command('umount --lazy', at)}, then mount it again"
        return Unasked(at, view.source, str(error), advice, left, not view.is_of_another)


def _of_plain(at: Path, named: Path | None = None) -> NotMounted:
    store = mountpoint(named) if named is not None else stores.of_moved(at).warned()
    below = tuple(mounts.views_below(at))
    return NotMounted(at, store if os.path.isdir(store) else None, Aftermath.of(store), below)


def _is_dead(view: mounts.Mount) -> bool:
    try:
        return not mounts.answers(view)
    except MountError:
        return False


def _shown(found: Found) -> dict[str, Any]:
    """The facts a person wants, in words."""
    at = str(found.mountpoint)
    left = found.left.in_words(found.mountpoint)
    match found:
        case Living():
            to_do = [one.line for one in wrong(found)]
            return {**_shown_answer(found.answer), **left, **({"what to do": to_do} if to_do else {})}
        case NotMounted():
            state = "not mounted: the plain directory"
            if (ended := found.left.ended) is not None:
                state += f", since the daemon (process {ended.pid}) {ended.in_words}, at {ended.when}"
            return {
                "path": at,
                "state": state,
                **({"mounted below": [str(view) for view in found.views_below]} if found.views_below else {}),
                **left,
                "store": str(found.store) if found.store is not None else None,
            }
        case Dead():
            return {"path": at, "state": f"mounted, but {DIED}", **left, "what to do": revive(found.mountpoint)}
        case Unasked():
            return {"path": at, "state": f"mounted, but {found.why}", "what to do": found.what_to_do, **left}
        case Anothers():
            return {
                "path": at,
                "state": f"mounted by another user ({found.view.owner_in_words}), whose daemon says:",
                "": [f"| {line}" for line in in_their_words(encode(found.says))],
            }


def _shown_answer(found: Answer) -> dict[str, Any]:
    if found.unsealed:
        sealing = f", {found.unsealed:,} to go" + (f", now {found.sealing}" if found.sealing else "")
    else:
        sealing = "" if found.looked_at_everything else ", looking for more"
    root = Path(found.mountpoint)
    look = f"to see what each is, or to remove it: {command('quarantine ls --view', root)}"
    shown: dict[str, Any] = {
        "path": found.mountpoint,
        "state": f"mounted by process {found.pid}" + (", for all users" if found.allow_other else ""),
        "sealed": f"{render.files(found.sealed)}, {render.size(found.sealed_bytes)}{sealing}",
        "reads": render.reads(found.checked_by, found.native, found.native_why),
        "rot": [item.line(root) for item in found.rot],
        "broken promises": [item.line(root) for item in found.broken_promises],
        "withdrawn": [item.line(root) for item in found.withdrawn],
        "in quarantine": [
            f"{render.files(len(found.quarantine))}, {render.size(found.quarantine_size)} "
            f"of {render.size(found.quarantine_limit)}",
            *(f"{item.stored_as} ({render.size(item.size)})" for item in found.quarantine),
            *[look] * bool(found.quarantine),
        ],
        "degraded": found.degraded or "no",
        "store": found.store,
        "log": found.log,
    }
    if found.team is not None:
        shown["team"] = f"group {found.team}; each member's token elsewhere, by HF_TOKEN_PATH"
    if found.origins:
        shown["origins"] = [origin.name for origin in found.origins]
    if found.hub is not None:
        shown["hub"] = found.hub.url
    if found.origins or found.hub is not None:
        if found.no_eviction:
            shown["eviction"] = f"none: {found.no_eviction}"
        elif found.cache_size is not None:
            shown["cache size"] = [f"at most {render.size(found.cache_size)} of what origins have"]
            shown["cache size"] += [found.too_large] * bool(found.too_large)
    if found.scrubbing is not None:
        shown["scrubbing"] = _shown_scrubbing(found.scrubbing, found.scrub_s)
    if found.served is not None:
        shown["serves"] = _shown_served(found.served)
        if found.served.share == "public" and found.hub is None:
            shown["serves"].append(
                "no Hub is set that says what is public (mount --hub): only what is published is served"
            )
    if found.upstream is not None:
        shown["upstream"] = [found.upstream, found.upstream_says]
    processes = {"sealer": found.sealer, "fetcher": found.fetcher}
    return {**shown, **{name: state for name, state in processes.items() if state != "ready"}}


def _shown_scrubbing(scrubbed: Scrubbed, interval_s: int) -> str:
    """Of files that are read natively while their filesystem does not check them."""
    from ipfsfs.cli.settings.table import SETTINGS  # imported here: seldom needed, and `status` is to answer at once

    every = SETTINGS["scrub"].kind.shown(interval_s)
    verified = f"{render.files(scrubbed.vouched_for)} verified within the last {every}"
    if scrubbed.due:
        return f"{verified}, {scrubbed.due:,} to go"
    if scrubbed.up_to_date_at is None:
        return verified
    when = datetime.fromtimestamp(scrubbed.up_to_date_at).strftime("%Y-%m-%d %H:%M:%S")
    return f"{verified}, the last of them at {when}"


def _shown_served(served: Served) -> list[str]:
    whom = "anyone" if served.to_anyone else "machines with the site's token"
    what = {"public": "what the Hub gives to anyone", "all": "every blob", "published": "what was published"}
    machines = counted(served.machines, "machine")
    return [
        f"at {served.address}, to {whom}: {what[served.share]}",
        f"{render.files(served.offered)}, {render.size(served.offered_bytes)}",
        f"{render.size(served.gave_bytes)} given to {machines}",
        *[f"requests refused, without the site's token: {served.refused:,}"] * bool(served.refused),
        *[served.state] * (served.state != "ready"),
    ]
