"""`ipfsfs verify`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import click
import trio

from ipfsfs.cli import bars, render, stored_blocks
from ipfsfs.cli import restore as restoring
from ipfsfs.cli.anothers import ask_another, in_their_words
from ipfsfs.cli.opened import Opened
from ipfsfs.cli.paths import PATH, STORE, Target, target
from ipfsfs.cli.scripts import Form, tell, tells
from ipfsfs.daemon import mounts
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.codec import encode
from ipfsfs.daemon.questions.verify import Answer, Question, missing_below
from ipfsfs.errors import IntegrityError, IpfsfsError, MountError
from ipfsfs.exchange import verify as verifying
from ipfsfs.exchange.findings import remedy
from ipfsfs.exchange.heal import Healed, NotHealed
from ipfsfs.exchange.heal_kept import PinnedOutcome
from ipfsfs.exchange.imported_blocks import BlockOutcome
from ipfsfs.exchange.kept_files import WrongPinned, inodes_with_names, verify_pinned
from ipfsfs.exchange.paths import see
from ipfsfs.printed import command, counted, printable
from ipfsfs.store.kept import Kept
from ipfsfs.store.tables.findings import FindingKind
from ipfsfs.workers.sealer.client import open_sealer

_HEAL_HELP: Final = "Put back what is wrong or missing, as `ipfsfs restore` does, in views of this user."
_ANOTHERS_PATIENCE_S: Final = 15.0
"""How long another user's daemon may say nothing: ours says every five seconds that it is at work."""


class Then(Enum):
    """What is done about what is wrong."""

    REPORT = "report"
    HEAL = "heal"


@dataclass(slots=True, frozen=True)
class Wrong:
    """A file that is not as it should be, and what to do about it."""

    path: Path
    kind: FindingKind
    detail: str
    fix: str


@dataclass(slots=True, frozen=True)
class Missing:
    """A file that links lead to and that is not there, and what to do about it."""

    path: Path
    fix: str


@dataclass(slots=True, frozen=True)
class NotVerified:
    """What could not be looked at, and why."""

    path: Path
    why: str
    hint: str


@dataclass(slots=True, frozen=True)
class Said:
    """What the daemon of another user's view says of it."""

    path: Path
    user: int | None
    says: Answer


@dataclass(slots=True, frozen=True)
class Facts:
    """How many files and bytes were read; how many of the files had no seal to compare with, or one that holds no
    longer. What is wrong: files, what pins hold, imported blocks (by their CIDs); what is missing. With --heal,
    instead: how much is `left` wrong, and what became of each that was, as `restore` tells it."""

    files: int
    bytes: int
    unsealed: int
    changed: int | None = None
    wrong: tuple[Wrong, ...] | None = None
    wrong_pinned: tuple[WrongPinned, ...] | None = None
    wrong_blocks: tuple[str, ...] | None = None
    missing: tuple[Missing, ...] | None = None
    not_verified: tuple[NotVerified, ...] = ()
    said_by_others: tuple[Said, ...] = ()
    left: int | None = None
    healed: tuple[Healed, ...] | None = None
    not_healed: tuple[NotHealed, ...] | None = None
    pinned: tuple[PinnedOutcome, ...] | None = None
    blocks: tuple[BlockOutcome, ...] | None = None


@click.command(
    short_help="Read every file again, and compare it with its seal and its name.",
    epilog="Example: ipfsfs verify ~/.cache/huggingface/hub/models--org--name",
)
@click.argument("paths", type=PATH, nargs=-1)
@click.option("--heal", "then", flag_value=Then.HEAL, type=click.UNPROCESSED, default=Then.REPORT, help=_HEAL_HELP)
@STORE
@tells(Form(Facts))
def verify(paths: tuple[Path, ...], then: Then, store: Path | None, as_json: bool) -> None:
    """Read every file below each PATH again, from the disk, and compare checksums, CIDs, and promised names.

    Blobs that snapshots link to and that are not there are named too. A whole view includes what pins hold, and blocks
    that were imported. Without PATH: every view of this user. Root can name another user's view, whose daemon is then
    asked. Exit code 4 if anything is wrong, else 1 if a blob is missing or a view cannot be asked; each is named, with
    what to do.
    """
    asked = [target(path, store=store) for path in paths] or [
        Target(v.mountpoint, "", v.store, v) for v in mounts.our_views()
    ]
    if not paths and then is Then.REPORT:
        _name_others()
    if not asked:
        raise MountError("nothing of yours is mounted", hint=f"Name a path: {command('verify ~/.cache/huggingface')}")
    if then is Then.HEAL:
        _heal(asked, as_json)
        return
    answers: list[tuple[Target, Answer]] = []
    said_by_others: list[tuple[mounts.Mount, Answer]] = []
    unasked: list[tuple[Path, IpfsfsError]] = []
    blocks: list[BlockOutcome] = []
    with bars.bar("Verifying") as bar:

        def show(progress: verifying.Progress) -> None:
            bar.update(files=progress.files, done_bytes=progress.bytes)

        for at in asked:
            try:
                if at.mount is None:
                    answers.append((at, _do(at, show)))
                    blocks += stored_blocks.verified(at, show)
                elif at.mount.is_of_another:
                    said = ask_another(at.mount, Question((at.path,)), patience_s=_ANOTHERS_PATIENCE_S, in_all_s=None)
                    said_by_others.append((at.mount, said))
                else:
                    answers.append((at, _ask(at.mount, at, show)))
                    blocks += stored_blocks.verified(at, show)
            except IpfsfsError as error:
                if len(asked) == 1:
                    raise
                unasked.append((at.root / at.relative, error))
    facts = _facts(answers, said_by_others, unasked, blocks)
    if as_json:
        tell(facts)
    else:
        _print(facts)
    if facts.wrong or facts.wrong_pinned or blocks or any(said.wrong for _, said in said_by_others):
        raise SystemExit(IntegrityError.exit_code)
    if facts.missing or facts.not_verified or any(said.missing for _, said in said_by_others):
        raise SystemExit(IpfsfsError.exit_code)


def _heal(asked: list[Target], as_json: bool) -> None:
    """Verify, and put back what is wrong or missing. Ends with the exit code of `verify` for what stays so."""
    with bars.bar("Healing") as bar:

        def show(progress: verifying.Progress) -> None:
            bar.update(files=progress.files, done_bytes=progress.bytes)

        facts = restoring.facts_of([(at, restoring.heal(at, show)) for at in asked], restoring.blocks(asked, show))
    if as_json:
        tell(_healed(facts))
    else:
        restoring.say(facts)
    if facts.left > sum(one.damage == "missing" for one in facts.not_healed):
        raise SystemExit(IntegrityError.exit_code)
    if facts.left:
        raise SystemExit(IpfsfsError.exit_code)


def _name_others() -> None:
    """To root, who could ask the daemons of others, but does so only by name: they may take as long as they like."""
    for view in mounts.views():
        if view.is_of_another and not view.is_anothers:
            whose = f"left out: {view.mountpoint} is another user's view ({view.owner_in_words})"
            click.echo(printable(f"{whose}; name it to have its daemon asked"), err=True)


def _facts(
    answers: list[tuple[Target, Answer]],
    said_by_others: list[tuple[mounts.Mount, Answer]],
    unasked: list[tuple[Path, IpfsfsError]],
    blocks: list[BlockOutcome],
) -> Facts:
    """The answers of all that was asked, as one."""
    return Facts(
        files=sum(answer.files for _, answer in answers),
        bytes=sum(answer.bytes for _, answer in answers),
        unsealed=sum(answer.unsealed for _, answer in answers),
        changed=sum(answer.changed for _, answer in answers),
        wrong=tuple(
            Wrong(path, wrong.kind, wrong.detail, remedy(wrong.kind, path))
            for at, answer in answers
            for wrong in answer.wrong
            for path in [at.root / wrong.path]
        ),
        wrong_pinned=tuple(wrong for _, answer in answers for wrong in answer.wrong_pinned),
        wrong_blocks=tuple(one.cid for one in blocks),
        missing=tuple(
            Missing(at.root / path, f"Have it again: {command('restore', at.root / at.relative)}")
            for at, answer in answers
            for path in answer.missing
        ),
        not_verified=tuple(NotVerified(path, str(error), error.hint) for path, error in unasked),
        said_by_others=tuple(Said(view.mountpoint, view.owner, said) for view, said in said_by_others),
    )


def _healed(done: restoring.Facts) -> Facts:
    """What healing did, in the form of this command."""
    return Facts(
        done.files, done.bytes, done.unsealed, left=done.left, healed=done.healed, not_healed=done.not_healed,
        pinned=done.pinned, blocks=done.blocks,
    )  # fmt: skip


def _print(facts: Facts) -> None:
    for wrong in facts.wrong or ():
        click.echo(printable(f"{wrong.kind.replace('_', ' ')}: {wrong.path}: {wrong.detail}"))
        click.echo(printable(f"  {wrong.fix}"))
    for lost in facts.missing or ():
        click.echo(printable(f"missing: {lost.path}: links lead to it, and it is not there"))
    for fix in dict.fromkeys(lost.fix for lost in facts.missing or ()):
        click.echo(f"  {fix}")
    for pinned in facts.wrong_pinned or ():
        click.echo(printable(f"pinned: {pinned.cid}, of {', '.join(pinned.pins)}: {pinned.detail}"))
    for block in facts.wrong_blocks or ():
        click.echo(f"imported: {block}: it is damaged, and counts as not there")
    if facts.wrong_pinned or facts.wrong_blocks:
        click.echo(f"  Have it again: {command('verify --heal')}")
    for item in facts.not_verified:
        click.echo(printable(f"not verified: {item.path}: {item.why}"))
        if item.hint:
            click.echo(printable(f"  {item.hint}"))
    for said_by in facts.said_by_others:
        click.echo(printable(f"{said_by.path} is another user's view (uid {said_by.user}). Its daemon says:"))
        for line in in_their_words(encode(said_by.says)):
            click.echo(f"  | {line}")
    count = sum(len(found or ()) for found in (facts.wrong, facts.wrong_pinned, facts.wrong_blocks))
    counts = {"wrong": count, "missing": len(facts.missing or ())}
    said = ", ".join(f"{counted(many, 'is', 'are')} {what}" for what, many in counts.items() if many)
    said = said or "nothing is wrong"
    click.echo(f"{render.files(facts.files)}, {render.size(facts.bytes)} read: {said}.")
    if facts.unsealed:
        unsealed = render.files(facts.unsealed)
        them = "it" if facts.unsealed == 1 else "them"
        click.echo(f"Without a seal to compare with: {unsealed}. While mounted, `{command('seal PATH')}` seals {them}.")


def _ask(view: mounts.Mount, at: Target, show: Callable[[verifying.Progress], None]) -> Answer:
    mounts.answers(view)  # a daemon that hangs would take the question, and never come back to it
    return ask(at.store, Question((at.path,)), show)


def _do(at: Target, show: Callable[[verifying.Progress], None]) -> Answer:
    """Without a daemon: with a sealer of our own, on the plain directory."""
    with Opened.at(at) as opened:
        os.close(see(opened.plain, at.root, at.path))

        async def run() -> Answer:
            with Kept.of(at.store) as kept:
                asked_for = inodes_with_names(kept, opened.plain.dev)
                async with open_sealer(opened.plain.fd) as sealer:
                    found = await verifying.verify(
                        sealer, opened.index, opened.ledger, opened.plain, opened.place, [at.path], show, asked_for
                    )
                pins = opened.ledger.pins
                wrong_pinned = await verify_pinned(kept, pins, found, show) if not at.path else []
                return Answer.of(found, wrong_pinned, missing_below(opened.plain.fd, [at.path]))

        return trio.run(run)
